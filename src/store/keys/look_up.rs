//! Look-up: the key that a secret is of, asked by a verify that does not find it in memory.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, FromQueryResult};
use uuid::Uuid;

use super::rows;
use crate::domain::caller::Owner;
use crate::domain::key::{KeyOfSecret, KeyStatus};
use crate::domain::name::KeyName;
use crate::domain::secret::SecretHash;
use crate::store::written::Written;
use crate::store::{Store, StoreError};

pub type Found = Result<Option<KeyOfSecret>, StoreError>;

/// A secret's row with its key's, as far as it is asked for.
#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    owner_issuer: String,
    owner_subject: String,
    organization: Option<String>,
    name: String,
    scopes: String,
    metadata: String,
    enabled: bool,
    revoked_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    secret_id: Uuid,
    hash: Vec<u8>,
    secret_expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

const BY_HASH: &str = "SELECT k.id, k.owner_issuer, k.owner_subject, k.organization, k.name, k.scopes, k.metadata, \
    k.enabled, k.revoked_at, k.created_at, k.expires_at, \
    s.id AS secret_id, s.hash, s.expires_at AS secret_expires_at, s.last_used_at \
    FROM secrets s JOIN api_keys k ON k.id = s.key_id WHERE s.hash IN ";

impl Store {
    /// The key that has a secret with one of these hashes (one secret under each pepper in force), and that secret.
    pub async fn find_key_by_secret(&self, hashes: &[SecretHash]) -> Found {
        for hash in hashes {
            let given_up = || Err(StoreError::Unavailable("a look-up was given up".into()));
            if let Some(found) = self.look_ups.join(*hash, self, Self::look_up).await.unwrap_or_else(given_up)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn look_up(self, hashes: Vec<SecretHash>) -> Vec<Found> {
        match self.read(async |database| read(database, &hashes).await).await {
            Ok(found) => hashes.iter().map(|hash| found.get(hash).cloned().transpose()).collect(),
            Err(error) => vec![Err(error); hashes.len()],
        }
    }
}

/// What there is of these. A row that cannot be read is the trouble of those alone who ask for it.
async fn read(
    database: &DatabaseConnection,
    hashes: &[SecretHash],
) -> Result<HashMap<SecretHash, Result<KeyOfSecret, StoreError>>, DbErr> {
    let hashes = hashes.iter().map(|SecretHash(hash)| hash.to_vec().into());
    let by_hash = Written::new(database.get_database_backend()).text(BY_HASH).list(hashes).statement();
    let mut found = HashMap::new();
    for row in database.query_all_raw(by_hash).await? {
        let row = Row::from_query_result(&row, "")?;
        let hash = rows::read_hash(row.secret_id, &row.hash)?;
        found.insert(hash, read_row(row, hash).map_err(StoreError::from));
    }
    Ok(found)
}

fn read_row(row: Row, secret_hash: SecretHash) -> Result<KeyOfSecret, DbErr> {
    Ok(KeyOfSecret {
        id: row.id,
        scopes: rows::read_scopes(row.id, &row.scopes)?,
        metadata: rows::read_metadata(row.id, &row.metadata)?,
        owner: Owner { issuer: row.owner_issuer, subject: row.owner_subject, organization: row.organization },
        name: KeyName::stored(row.name),
        standing: KeyStatus::standing(row.revoked_at.is_some(), row.enabled),
        created_at: row.created_at,
        expires_at: row.expires_at,
        secret_id: row.secret_id,
        secret_hash,
        secret_expires_at: row.secret_expires_at,
        last_used_at: row.last_used_at,
    })
}
