//! Lookup: the key that a secret belongs to, for a verification that misses the cache.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, FromQueryResult};
use uuid::Uuid;

use crate::domain::api_key::{KeyForSecret, KeyStatus};
use crate::domain::key_name::KeyName;
use crate::domain::secret_hash::SecretHash;
use crate::store::api_keys::rows;
use crate::store::owner::owner_from_columns;
use crate::store::sql::SqlBuilder;
use crate::store::{Store, StoreError};

/// The columns that a verification needs of a secret and its key.
#[derive(FromQueryResult)]
struct LookupRow {
    id: Uuid,
    owner_issuer: String,
    owner_subject: String,
    owner_organization: String,
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

const KEY_COLUMNS: &str = "k.id, k.owner_issuer, k.owner_subject, k.owner_organization, k.name, k.scopes, k.metadata, \
    k.enabled, k.revoked_at, k.created_at, k.expires_at, ";
/// The last use is a subquery, so that PostgreSQL uses the index whatever it estimates the size of the tables to be.
const CURRENT_SECRETS: &str = "k.secret_id, k.secret_hash AS hash, NULL AS secret_expires_at, \
    (SELECT last_used_at FROM secret_last_used u WHERE u.secret_id = k.secret_id) AS last_used_at \
    FROM api_keys k WHERE k.secret_hash IN ";
const ROTATED_SECRETS: &str = "r.id AS secret_id, r.hash, r.expires_at AS secret_expires_at, \
    (SELECT last_used_at FROM secret_last_used u WHERE u.secret_id = r.id) AS last_used_at \
    FROM rotated_secrets r JOIN api_keys k ON k.id = r.key_id WHERE r.hash IN ";

/// The keys that were found, each with an error of its own if its row cannot be read.
type FoundKeys = HashMap<SecretHash, Result<KeyForSecret, StoreError>>;

impl Store {
    /// Finds the key of a secret. `hashes` are the secret's hashes under all peppers in use, newest pepper first.
    pub async fn find_key_by_secret(&self, hashes: &[SecretHash]) -> Result<Option<KeyForSecret>, StoreError> {
        // The newest pepper's hash is tried again at the end: a concurrent rehash may have replaced the old hash by it
        // after the first try.
        let again = hashes.first().filter(|_| hashes.len() > 1);
        for hash in hashes.iter().chain(again) {
            if let Some(key) = self.batched(&self.lookup_batcher, *hash, Self::lookup_batch).await? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    async fn lookup_batch(self, hashes: Vec<SecretHash>) -> Vec<Result<Option<KeyForSecret>, StoreError>> {
        let mut found = self.read(async |database| find_keys(database, &hashes).await).await;
        // Tried once more, on a connection that was checked.
        if let Err(StoreError::ConnectionLost(_)) = found {
            found = self.read(async |database| find_keys(database, &hashes).await).await;
        }
        match found {
            Ok(found) => hashes.iter().map(|hash| found.get(hash).cloned().transpose()).collect(),
            Err(error) => vec![Err(error); hashes.len()],
        }
    }
}

/// Reads the current secrets first, then the rotated ones. A rotation moves a secret in that direction only, so a
/// concurrent one cannot hide it from both queries.
async fn find_keys(database: &DatabaseConnection, hashes: &[SecretHash]) -> Result<FoundKeys, DbErr> {
    let mut found = HashMap::new();
    find_by_hashes(CURRENT_SECRETS, database, hashes, &mut found).await?;
    let missing: Vec<_> = hashes.iter().filter(|hash| !found.contains_key(*hash)).copied().collect();
    if !missing.is_empty() {
        find_by_hashes(ROTATED_SECRETS, database, &missing, &mut found).await?;
    }
    Ok(found)
}

/// Finds the keys of secrets. `select_sql` is [`CURRENT_SECRETS`] or [`ROTATED_SECRETS`].
async fn find_by_hashes(
    select_sql: &str,
    database: &DatabaseConnection,
    hashes: &[SecretHash],
    found: &mut FoundKeys,
) -> Result<(), DbErr> {
    let hashes = hashes.iter().map(|SecretHash(hash)| hash.to_vec().into());
    let query = SqlBuilder::new(database.get_database_backend()).push("SELECT ").push(KEY_COLUMNS).push(select_sql);
    for row in database.query_all_raw(query.push_values(hashes).build()).await? {
        let row = LookupRow::from_query_result(&row, "")?;
        let hash = rows::parse_hash(row.secret_id, &row.hash)?;
        found.insert(hash, lookup_from_row(row, hash).map_err(StoreError::from));
    }
    Ok(())
}

fn lookup_from_row(row: LookupRow, secret_hash: SecretHash) -> Result<KeyForSecret, DbErr> {
    Ok(KeyForSecret {
        id: row.id,
        scopes: rows::parse_scopes(row.id, &row.scopes)?,
        metadata: rows::parse_metadata(row.id, &row.metadata)?,
        owner: owner_from_columns(row.owner_issuer, row.owner_subject, row.owner_organization),
        name: KeyName::from_db(row.name),
        stored_status: KeyStatus::ignoring_expiry(row.revoked_at.is_some(), row.enabled),
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
    use entity::api_key::Column;
    use sea_orm::{IdenStatic, Iterable};

    use super::*;
    use crate::store::api_keys::insert::tests::key_insert;

    #[test]
    fn every_column_of_a_key_is_read_or_left_out_for_a_reason() {
        let left_out = [
            (Column::NameWords, "only searched"),
            (Column::SecretStart, "not part of a verification's response"),
            (Column::SecretLast4, "not part of a verification's response"),
            (Column::UpdatedAt, "not part of a verification's response"),
            (Column::RevokedBy, "the fact of the revocation suffices"),
            (Column::RevokeReason, "the fact of the revocation suffices"),
            (Column::DeletedAt, "a deleted key is revoked"),
            (Column::Revision, "only for changes"),
            (Column::SecretCreatedAt, "only for rotation"),
            (Column::SecretPepperId, "the hash that matched tells the pepper"),
            (Column::CreationActorKind, "only for the audit"),
            (Column::CreationActorIssuer, "only for the audit"),
            (Column::CreationActorSubject, "only for the audit"),
            (Column::CreationActorKeyId, "only for the audit"),
            (Column::CreationRequestId, "only for the audit"),
            (Column::CreationClientAddress, "only for the audit"),
            (Column::CreationUserAgent, "only for the audit"),
            (Column::CreationChanges, "only for the audit"),
        ];
        let selected = format!("{KEY_COLUMNS}{CURRENT_SECRETS}");
        let selected: Vec<_> = selected.split([' ', ',']).filter_map(|word| word.strip_prefix("k.")).collect();
        for column in Column::iter() {
            let is_left_out = left_out.iter().any(|(left_out, _)| left_out.as_str() == column.as_str());
            assert!(
                selected.contains(&column.as_str()) != is_left_out,
                "select {column:?} for a verification, or add it to the columns left out, with the reason"
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn secret_is_found_while_it_is_rehashed() {
        let (store, _directory) = Store::temporary().await;
        for round in 0..100 {
            let insert = key_insert(round);
            let (key, secret, old) = (insert.key.id, insert.secret.id, insert.secret.hash);
            store.create_key(insert).await.unwrap();
            let newest = SecretHash([100 + round; 32]);
            let lookups = tokio::spawn({
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
            assert_eq!(lookups.await.unwrap(), 20, "round {round}");
        }
    }
}
