//! Saved responses of requests with an `Idempotency-Key`.
//!
//! A response is saved in the transaction of the change that it reports, so that a crash leaves both or neither. A
//! second request with the same key waits for that transaction and then finds the saved response.
//!
//! The id of a response depends on the pepper that it was derived with. A response is therefore saved once under each
//! pepper of the replica. Two replicas that have one pepper in common then write the same row, so that one of them waits
//! for the other, whichever pepper is the newest at each.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use entity::idempotency_record::{ActiveModel, Column, Entity, Model};
use sea_orm::sea_query::Query;
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};

use crate::store::sql::SqlBuilder;
use crate::store::{Store, StoreError};

/// The response to an earlier request with the same `Idempotency-Key`, as saved under one pepper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedResponse {
    /// A keyed hash of caller, operation and `Idempotency-Key`.
    pub id: Vec<u8>,
    pub fingerprint: Vec<u8>,
    pub sealed_response: Vec<u8>,
    pub expires_at: DateTime<Utc>,
}

impl From<Model> for SavedResponse {
    fn from(Model { id, fingerprint, sealed_response, expires_at }: Model) -> Self {
        Self { id, fingerprint, sealed_response, expires_at }
    }
}

/// Returns the response that is saved under one of these ids, unless it has expired.
pub async fn find_response<C: ConnectionTrait>(
    connection: &C,
    response_ids: &[Vec<u8>],
    now: DateTime<Utc>,
) -> Result<Option<SavedResponse>, DbErr> {
    let saved = Entity::find().filter(Column::Id.is_in(response_ids.iter().map(Vec::as_slice)));
    Ok(saved.filter(Column::ExpiresAt.gt(now)).one(connection).await?.map(SavedResponse::from))
}

/// Replaces an expired response. One that has not expired stays, and its row is locked all the same.
const REPLACE_EXPIRED: &str = " ON CONFLICT (id) DO UPDATE SET fingerprint = excluded.fingerprint, \
                               sealed_response = excluded.sealed_response, expires_at = excluded.expires_at \
                               WHERE idempotency_records.expires_at <= ";

/// Saves the responses of several requests; those of one request are the same response under each pepper. Returns, for
/// each request, the response that was saved before, or `None` if its own are saved now.
///
/// Waits for transactions that are saving responses with the same ids. All transactions write the rows in the order of
/// their ids, whichever request each belongs to, so that they cannot deadlock.
pub async fn save_responses(
    transaction: &DatabaseTransaction,
    requests: Vec<Vec<SavedResponse>>,
    now: DateTime<Utc>,
) -> Result<Vec<Option<SavedResponse>>, DbErr> {
    // The first of several requests with the same ids saves its response, and the others find it.
    let mut rows = BTreeMap::new();
    for response in requests.iter().flatten() {
        rows.entry(response.id.clone()).or_insert_with(|| response.clone());
    }
    if rows.is_empty() {
        return Ok(vec![None; requests.len()]);
    }
    let written = write_rows(transaction, rows.values().cloned().collect(), now).await?;
    let replayed = requests.iter().filter(|responses| !responses.iter().all(|one| written.contains(&one.id)));
    let ids: BTreeSet<_> = replayed.flatten().map(|response| response.id.clone()).collect();
    let (withdrawn, found): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| written.contains(id));
    if !found.is_empty() {
        delete_responses(transaction, withdrawn).await?;
        let earlier = Entity::find().filter(Column::Id.is_in(found)).all(transaction).await?;
        rows.extend(earlier.into_iter().map(|row| (row.id.clone(), row.into())));
    }
    let outcome = |responses: &Vec<SavedResponse>| {
        let before = responses.iter().find(|response| !written.contains(&response.id)).or(responses.first())?;
        rows.get(&before.id).filter(|first| !responses.contains(first)).cloned()
    };
    Ok(requests.iter().map(outcome).collect())
}

/// Inserts rows, or replaces expired ones. Returns the ids of the rows that it wrote.
async fn write_rows(
    transaction: &DatabaseTransaction,
    responses: Vec<SavedResponse>,
    now: DateTime<Utc>,
) -> Result<HashSet<Vec<u8>>, DbErr> {
    let row = |SavedResponse { id, fingerprint, sealed_response, expires_at }| ActiveModel {
        id: Set(id),
        fingerprint: Set(fingerprint),
        sealed_response: Set(sealed_response),
        expires_at: Set(expires_at),
    };
    let insert = SqlBuilder::new(transaction.get_database_backend())
        .push_insert(responses.into_iter().map(row))
        .push(REPLACE_EXPIRED)
        .push_values([now.into()])
        .push(" RETURNING id")
        .build();
    transaction.query_all_raw(insert).await?.iter().map(|row| row.try_get("", "id")).collect()
}

/// Deletes responses that this transaction has saved and whose change it does not make.
pub async fn delete_responses(transaction: &DatabaseTransaction, response_ids: Vec<Vec<u8>>) -> Result<(), DbErr> {
    if !response_ids.is_empty() {
        Entity::delete_many().filter(Column::Id.is_in(response_ids)).exec(transaction).await?;
    }
    Ok(())
}

impl Store {
    /// Returns the response that is saved under one of these ids, unless it has expired.
    pub async fn find_saved_response(
        &self,
        response_ids: &[Vec<u8>],
        now: DateTime<Utc>,
    ) -> Result<Option<SavedResponse>, StoreError> {
        self.read(async |database| find_response(database, response_ids, now).await).await
    }

    /// Deletes expired responses in several short transactions, so that other writers need not wait long.
    pub async fn delete_expired_responses(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        const BATCH: u64 = 1000;
        loop {
            let expired = Query::select()
                .column(Column::Id)
                .from(Entity)
                .and_where(Column::ExpiresAt.lte(now))
                .limit(BATCH)
                .to_owned();
            let delete = Entity::delete_many().filter(Column::Id.in_subquery(expired));
            let deleted = self.write(async |transaction| delete.exec(transaction).await).await?;
            if deleted.rows_affected < BATCH {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const NOW: DateTime<Utc> = DateTime::from_timestamp(1_800_000_000, 0).unwrap();

    /// A response under each of these ids, which another request does not have.
    fn responses(ids: &[&str], content: u8) -> Vec<SavedResponse> {
        let response = |id: &&str| SavedResponse {
            id: id.as_bytes().to_vec(),
            fingerprint: Vec::new(),
            sealed_response: vec![content],
            expires_at: NOW + TimeDelta::hours(1),
        };
        ids.iter().map(response).collect()
    }

    async fn save(store: &Store, requests: &[&[SavedResponse]], now: DateTime<Utc>) -> Vec<Option<SavedResponse>> {
        let requests = requests.iter().map(|responses| responses.to_vec()).collect();
        store.write(async |transaction| save_responses(transaction, requests, now).await).await.unwrap()
    }

    async fn find(store: &Store, id: &str) -> Option<u8> {
        let found = store.find_saved_response(&[id.as_bytes().to_vec()], NOW).await.unwrap();
        found.map(|response| response.sealed_response[0])
    }

    #[tokio::test]
    async fn response_under_one_shared_pepper_is_found_by_the_second() {
        let (store, _directory) = Store::temporary().await;
        let (old, both) = (responses(&["old"], 1), responses(&["new", "old"], 2));
        assert_eq!(save(&store, &[&old], NOW).await, [None]);
        assert_eq!(save(&store, &[&both], NOW).await, [Some(old[0].clone())]);
        assert_eq!((find(&store, "old").await, find(&store, "new").await), (Some(1), None), "no row of the second");
    }

    #[tokio::test]
    async fn requests_with_the_same_ids_in_a_batch_get_one_response() {
        let (store, _directory) = Store::temporary().await;
        let earlier = responses(&["d"], 1);
        save(&store, &[&earlier], NOW).await;
        let (first, again) = (responses(&["b", "a"], 2), responses(&["b", "a"], 3));
        let (late, later) = (responses(&["c", "d"], 4), responses(&["c", "d"], 5));
        let outcomes = save(&store, &[&first, &late, &[], &again, &later], NOW).await;
        let replayed = Some(earlier[0].clone());
        assert_eq!(outcomes, [None, replayed.clone(), None, Some(first[0].clone()), replayed]);
        for (id, content) in [("a", Some(2)), ("b", Some(2)), ("c", None), ("d", Some(1))] {
            assert_eq!(find(&store, id).await, content, "{id}");
        }
    }

    #[tokio::test]
    async fn expired_response_is_replaced() {
        let (store, _directory) = Store::temporary().await;
        let (first, second) = (responses(&["a"], 1), responses(&["a"], 2));
        save(&store, &[&first], NOW - TimeDelta::hours(2)).await;
        assert_eq!(save(&store, &[&second], NOW).await, [Some(first[0].clone())], "not expired");
        assert_eq!(save(&store, &[&second], first[0].expires_at).await, [None]);
        assert_eq!(find(&store, "a").await, Some(2));
    }
}
