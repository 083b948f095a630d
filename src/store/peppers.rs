//! Peppers: the record of which ones this database's secrets were hashed with.

use chrono::{DateTime, Utc};
use entity::pepper;
use sea_orm::{ActiveValue::Set, EntityTrait};

use super::{Store, StoreError};
use crate::domain::secret_hash::Peppers;

impl Store {
    /// Refuses master secrets that made none of this database's secrets: every key in it would be unknown, and an
    /// operator who lost the file should hear it now rather than from the users.
    pub async fn adopt_peppers(&self, peppers: &Peppers, now: DateTime<Utc>) -> Result<(), StoreError> {
        // Alone: of two replicas that start at once on an empty database with secrets of their own, one is refused.
        let transaction = self.begin_alone().await?;
        let known = pepper::Entity::find().all(&transaction).await?;
        let shared = known.iter().any(|known| peppers.all().iter().any(|pepper| pepper.id() == known.id));
        if !known.is_empty() && !shared {
            return Err(StoreError::refused(
                "the master secret is not the one that this database's keys were made with; restore the file \
                 master.secret of its data directory, or give MINTKEY_MASTER_SECRET_FILE",
            ));
        }
        let newest = peppers.newest().id();
        if !known.iter().any(|known| known.id == newest) {
            let row = pepper::ActiveModel { id: Set(newest.to_owned()), first_used_at: Set(now) };
            pepper::Entity::insert(row).exec_without_returning(&transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}
