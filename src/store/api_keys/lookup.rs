//! Look-up: the key that a secret is of, asked by a verify that does not find it in memory.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, FromQueryResult};
use uuid::Uuid;

use super::rows;
use crate::domain::api_key::{KeyForSecret, KeyStatus};
use crate::domain::key_name::KeyName;
use crate::domain::owner::Owner;
use crate::domain::secret_hash::SecretHash;
use crate::store::sql::Written;
use crate::store::{Store, StoreError};

pub type Found = Result<Option<KeyForSecret>, StoreError>;

/// A secret and its key, as far as they are asked for.
#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    owner_issuer: String,
    owner_subject: String,
    owner_organization: Option<String>,
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

/// Of the newest secrets, and of those that a rotation replaced. The last use is a question of its own, which PostgreSQL
/// answers by the index whatever it believes the tables' sizes to be.
const KEY: &str = "SELECT k.id, k.owner_issuer, k.owner_subject, k.owner_organization, k.name, k.scopes, k.metadata, \
    k.enabled, k.revoked_at, k.created_at, k.expires_at, ";
const NEWEST: &str = "k.secret_id, k.secret_hash AS hash, NULL AS secret_expires_at, \
    (SELECT last_used_at FROM secret_last_used u WHERE u.secret_id = k.secret_id) AS last_used_at \
    FROM api_keys k WHERE k.secret_hash IN ";
const FORMER: &str = "r.id AS secret_id, r.hash, r.expires_at AS secret_expires_at, \
    (SELECT last_used_at FROM secret_last_used u WHERE u.secret_id = r.id) AS last_used_at \
    FROM rotated_secrets r JOIN api_keys k ON k.id = r.key_id WHERE r.hash IN ";

impl Store {
    /// The key that has a secret with one of these hashes (one secret under each pepper in force, the newest first), and
    /// that secret.
    pub async fn find_key_by_secret(&self, hashes: &[SecretHash]) -> Found {
        // Between the questions another may hash the secret anew, and it would be found under neither.
        let again = hashes.first().filter(|_| hashes.len() > 1);
        for hash in hashes.iter().chain(again) {
            if let Some(found) = self.together(&self.look_ups, *hash, Self::look_up).await? {
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

type Read = HashMap<SecretHash, Result<KeyForSecret, StoreError>>;

/// What there is of these. A secret goes from the newest to the former and never back, so that one that a rotation replaces
/// meanwhile is found among either.
async fn read(database: &DatabaseConnection, hashes: &[SecretHash]) -> Result<Read, DbErr> {
    let mut found = HashMap::new();
    read_of(NEWEST, database, hashes, &mut found).await?;
    let missing: Vec<_> = hashes.iter().filter(|hash| !found.contains_key(*hash)).copied().collect();
    if !missing.is_empty() {
        read_of(FORMER, database, &missing, &mut found).await?;
    }
    Ok(found)
}

/// A row that cannot be read is the trouble of those alone who ask for it.
async fn read_of(
    secrets: &str,
    database: &DatabaseConnection,
    hashes: &[SecretHash],
    found: &mut Read,
) -> Result<(), DbErr> {
    let hashes = hashes.iter().map(|SecretHash(hash)| hash.to_vec().into());
    let by_hash = Written::new(database.get_database_backend()).text(KEY).text(secrets).list(hashes).statement();
    for row in database.query_all_raw(by_hash).await? {
        let row = Row::from_query_result(&row, "")?;
        let hash = rows::read_hash(row.secret_id, &row.hash)?;
        found.insert(hash, read_row(row, hash).map_err(StoreError::from));
    }
    Ok(())
}

fn read_row(row: Row, secret_hash: SecretHash) -> Result<KeyForSecret, DbErr> {
    Ok(KeyForSecret {
        id: row.id,
        scopes: rows::read_scopes(row.id, &row.scopes)?,
        metadata: rows::read_metadata(row.id, &row.metadata)?,
        owner: Owner { issuer: row.owner_issuer, subject: row.owner_subject, organization: row.owner_organization },
        name: KeyName::from_db(row.name),
        standing: KeyStatus::standing(row.revoked_at.is_some(), row.enabled),
        created_at: row.created_at,
        expires_at: row.expires_at,
        secret_id: row.secret_id,
        secret_hash,
        secret_expires_at: row.secret_expires_at,
        last_used_at: row.last_used_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::api_keys::insert::tests::created;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_secret_that_is_hashed_anew_meanwhile_is_found() {
        let (store, _directory) = Store::temporary().await;
        for round in 0..100 {
            let new = created(round, None);
            let (key, secret, old) = (new.key.id, new.secret.id, new.secret.hash);
            store.create_key(new).await.unwrap();
            let newest = SecretHash([100 + round; 32]);
            let asking = tokio::spawn({
                let store = store.clone();
                async move {
                    let mut found = 0;
                    for _ in 0..20 {
                        found += usize::from(store.find_key_by_secret(&[newest, old]).await.unwrap().is_some());
                    }
                    found
                }
            });
            store.rehash_secret(key, secret, newest, "newest").await.unwrap();
            assert_eq!(asking.await.unwrap(), 20, "round {round}");
        }
    }
}
