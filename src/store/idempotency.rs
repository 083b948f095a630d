//! Idempotency: the answers that can be given again. An answer is remembered in the transaction of what it tells of, so
//! that a crash leaves both or neither; a second request with the same name waits for the first one's transaction and
//! then finds its answer.

use chrono::{DateTime, Utc};
use entity::idempotency_record::{self, Column};
use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};

use super::{Store, StoreError};

/// The answer that was given to a request of this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    pub id: Vec<u8>,
    pub fingerprint: Vec<u8>,
    pub answer: Vec<u8>,
    pub expires_at: DateTime<Utc>,
}

impl From<idempotency_record::Model> for Remembered {
    fn from(row: idempotency_record::Model) -> Self {
        let idempotency_record::Model { id, fingerprint, sealed_response, expires_at } = row;
        Self { id, fingerprint, answer: sealed_response, expires_at }
    }
}

/// What is remembered under this name. A name whose time is over is free again.
pub async fn recall(
    transaction: &DatabaseTransaction,
    id: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Remembered>, DbErr> {
    let Some(row) = idempotency_record::Entity::find_by_id(id).one(transaction).await? else { return Ok(None) };
    if row.expires_at <= now {
        idempotency_record::Entity::delete_by_id(row.id).exec(transaction).await?;
        return Ok(None);
    }
    Ok(Some(row.into()))
}

/// Remembers the answer, unless there is one under this name: then gives that one.
pub async fn remember_or_recall(
    transaction: &DatabaseTransaction,
    new: Remembered,
    now: DateTime<Utc>,
) -> Result<Option<Remembered>, DbErr> {
    if let Some(earlier) = recall(transaction, &new.id, now).await? {
        return Ok(Some(earlier));
    }
    let id = new.id.clone();
    if remember(transaction, new).await? { Ok(None) } else { recall(transaction, &id, now).await }
}

/// Whether the name was free. A transaction that has just taken it is waited for.
pub async fn remember(transaction: &DatabaseTransaction, new: Remembered) -> Result<bool, DbErr> {
    let Remembered { id, fingerprint, answer, expires_at } = new;
    let row = idempotency_record::ActiveModel {
        id: Set(id),
        fingerprint: Set(fingerprint),
        sealed_response: Set(answer),
        expires_at: Set(expires_at),
    };
    let unless_taken = OnConflict::column(Column::Id).do_nothing().to_owned();
    let insert = idempotency_record::Entity::insert(row).on_conflict(unless_taken);
    Ok(insert.exec_without_returning(transaction).await? == 1)
}

impl Store {
    pub async fn answered_before(&self, id: &[u8], now: DateTime<Utc>) -> Result<Option<Remembered>, StoreError> {
        let request = idempotency_record::Entity::find_by_id(id);
        let row = self.read(async |database| request.one(database).await).await?;
        Ok(row.filter(|row| now < row.expires_at).map(Remembered::from))
    }

    /// Forgets those whose time is over, some at a time, so that other writers are let in between.
    pub async fn forget_answers(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        const BATCH: u64 = 1000;
        loop {
            let over = Query::select()
                .column(Column::Id)
                .from(idempotency_record::Entity)
                .and_where(Column::ExpiresAt.lte(now))
                .limit(BATCH)
                .to_owned();
            let forget = idempotency_record::Entity::delete_many().filter(Column::Id.in_subquery(over));
            let forgotten = self.write(async |transaction| forget.exec(transaction).await).await?;
            if forgotten.rows_affected < BATCH {
                return Ok(());
            }
        }
    }
}
