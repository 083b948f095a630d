//! Look-up: the key that a secret is of, asked by a verify that does not find it in memory.

use std::collections::HashMap;

use entity::{api_key, secret};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, FromQueryResult};

use super::rows;
use crate::domain::key::{ApiKey, StoredSecret};
use crate::domain::secret::SecretHash;
use crate::store::written::Written;
use crate::store::{Store, StoreError};

/// Nothing, or the key and the secret itself.
pub type Found = Result<Option<(ApiKey, StoredSecret)>, StoreError>;

/// Secrets with their keys.
const BY_HASH: &str = "SELECT api_keys.*, secrets.id AS secret_id, secrets.key_id AS secret_key_id, \
    secrets.hash AS secret_hash, secrets.pepper_id AS secret_pepper_id, secrets.start AS secret_start, \
    secrets.last4 AS secret_last4, secrets.created_at AS secret_created_at, secrets.expires_at AS secret_expires_at, \
    secrets.last_used_at AS secret_last_used_at \
    FROM secrets JOIN api_keys ON api_keys.id = secrets.key_id WHERE secrets.hash IN ";

impl Store {
    /// The key that has a secret with one of these hashes (one secret under each pepper in force), and that secret.
    pub async fn find_key_by_secret(&self, hashes: &[SecretHash]) -> Found {
        for hash in hashes {
            let store = self.clone();
            let together = move |hashes: Vec<SecretHash>| {
                let store = store.clone();
                async move { store.look_up(&hashes).await }
            };
            let given_up = || Err(StoreError::Unavailable("a look-up was given up".into()));
            if let Some(found) = self.look_ups.join(*hash, together).await.unwrap_or_else(given_up)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn look_up(&self, hashes: &[SecretHash]) -> Vec<Found> {
        match self.read(async |database| read(database, hashes).await).await {
            Ok(found) => hashes.iter().map(|hash| found.get(hash).cloned().transpose()).collect(),
            Err(error) => vec![Err(error); hashes.len()],
        }
    }
}

/// What there is of these. A row that cannot be read is the trouble of those alone who ask for it.
async fn read(
    database: &DatabaseConnection,
    hashes: &[SecretHash],
) -> Result<HashMap<SecretHash, Result<(ApiKey, StoredSecret), StoreError>>, DbErr> {
    let hashes = hashes.iter().map(|SecretHash(hash)| hash.to_vec().into());
    let by_hash = Written::new(database.get_database_backend()).text(BY_HASH).list(hashes).statement();
    let mut found = HashMap::new();
    for row in database.query_all_raw(by_hash).await? {
        let secret = rows::read_secret(secret::Model::from_query_result(&row, "secret_")?)?;
        let key = api_key::Model::from_query_result(&row, "").and_then(rows::read_key);
        found.insert(secret.hash, key.map(|key| (key, secret)).map_err(StoreError::from));
    }
    Ok(found)
}
