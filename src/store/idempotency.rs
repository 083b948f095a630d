//! Saved responses of requests with an `Idempotency-Key`.
//!
//! A response is saved in the transaction of the change that it reports, so that a crash leaves both or neither. A
//! second request with the same key waits for that transaction and then finds the saved response.

use chrono::{DateTime, Utc};
use entity::idempotency_record::{ActiveModel, Column, Entity, Model};
use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};

use crate::store::{Store, StoreError};

/// The response to an earlier request with the same `Idempotency-Key`.
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

/// Returns the saved response. Deletes it instead if it has expired, so that its id can be used again.
pub async fn find_response(
    transaction: &DatabaseTransaction,
    response_id: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<SavedResponse>, DbErr> {
    let Some(row) = Entity::find_by_id(response_id).one(transaction).await? else { return Ok(None) };
    if row.expires_at <= now {
        Entity::delete_by_id(row.id).exec(transaction).await?;
        return Ok(None);
    }
    Ok(Some(row.into()))
}

/// Saves a response and returns `None`, or returns the response that was saved under its id before.
pub async fn save_or_find(
    transaction: &DatabaseTransaction,
    response: SavedResponse,
    now: DateTime<Utc>,
) -> Result<Option<SavedResponse>, DbErr> {
    if let Some(earlier) = find_response(transaction, &response.id, now).await? {
        return Ok(Some(earlier));
    }
    let response_id = response.id.clone();
    if save_response(transaction, response).await? {
        return Ok(None);
    }
    find_response(transaction, &response_id, now).await
}

/// Saves a response. Waits for a transaction that is saving one with the same id, and returns false if it committed.
pub async fn save_response(transaction: &DatabaseTransaction, response: SavedResponse) -> Result<bool, DbErr> {
    let SavedResponse { id, fingerprint, sealed_response, expires_at } = response;
    let row = ActiveModel {
        id: Set(id),
        fingerprint: Set(fingerprint),
        sealed_response: Set(sealed_response),
        expires_at: Set(expires_at),
    };
    let unless_taken = OnConflict::column(Column::Id).do_nothing().to_owned();
    let insert = Entity::insert(row).on_conflict(unless_taken);
    Ok(insert.exec_without_returning(transaction).await? == 1)
}

impl Store {
    pub async fn find_saved_response(
        &self,
        response_id: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Option<SavedResponse>, StoreError> {
        let row = self.read(async |database| Entity::find_by_id(response_id).one(database).await).await?;
        Ok(row.filter(|row| now < row.expires_at).map(SavedResponse::from))
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
