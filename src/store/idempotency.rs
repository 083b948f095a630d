//! Idempotency: the answers that can be given again. An answer is remembered in the transaction of what it tells of, so
//! that a crash leaves both or neither; a second request with the same name waits for the first one's transaction and
//! then finds its answer.

use chrono::{DateTime, Utc};
use entity::idempotent_request::{self, Column};
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

/// What is remembered under this name. A name whose time is over is free again.
pub async fn recall(
    transaction: &DatabaseTransaction,
    id: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Remembered>, DbErr> {
    let Some(row) = idempotent_request::Entity::find_by_id(id).one(transaction).await? else { return Ok(None) };
    if row.expires_at <= now {
        idempotent_request::Entity::delete_by_id(row.id).exec(transaction).await?;
        return Ok(None);
    }
    let idempotent_request::Model { id, fingerprint, answer, expires_at } = row;
    Ok(Some(Remembered { id, fingerprint, answer, expires_at }))
}

pub async fn remember(transaction: &DatabaseTransaction, new: Remembered) -> Result<(), DbErr> {
    let Remembered { id, fingerprint, answer, expires_at } = new;
    let row = idempotent_request::ActiveModel {
        id: Set(id),
        fingerprint: Set(fingerprint),
        answer: Set(answer),
        expires_at: Set(expires_at),
    };
    idempotent_request::Entity::insert(row).exec_without_returning(transaction).await?;
    Ok(())
}

impl Store {
    pub async fn answered_before(&self, id: &[u8], now: DateTime<Utc>) -> Result<Option<Remembered>, StoreError> {
        let row = idempotent_request::Entity::find_by_id(id).one(self.reader()?).await?;
        let row = row.filter(|row| now < row.expires_at);
        Ok(row.map(|idempotent_request::Model { id, fingerprint, answer, expires_at }| Remembered {
            id,
            fingerprint,
            answer,
            expires_at,
        }))
    }

    pub async fn forget_answers(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        idempotent_request::Entity::delete_many().filter(Column::ExpiresAt.lte(now)).exec(&transaction).await?;
        Ok(transaction.commit().await?)
    }
}
