//! Peppers: which ones the secrets in this database were hashed with.

use chrono::{DateTime, Utc};
use entity::pepper;
use sea_orm::{ActiveValue::Set, EntityTrait};

use crate::domain::secret_hash::Peppers;
use crate::store::{Store, StoreError};

impl Store {
    /// Registers the newest pepper, unless the database has peppers and none of them is among these. With such a master
    /// secret no key could be verified, so an operator who lost the file learns it at startup.
    pub async fn verify_or_register_peppers(&self, peppers: &Peppers, now: DateTime<Utc>) -> Result<(), StoreError> {
        // Exclusive: of two replicas that start on an empty database with different master secrets, one is rejected.
        let transaction = self.begin_exclusive().await?;
        let stored = pepper::Entity::find().all(&transaction).await?;
        let matches = stored.iter().any(|stored| peppers.all().iter().any(|pepper| pepper.id() == stored.id));
        if !stored.is_empty() && !matches {
            return Err(StoreError::incompatible(
                "the master secret is not the one that this database's keys were made with; restore the file \
                 master.secret of its data directory, or give MINTKEY_MASTER_SECRET_FILE",
            ));
        }
        let newest = peppers.newest().id();
        if !stored.iter().any(|stored| stored.id == newest) {
            let row = pepper::ActiveModel { id: Set(newest.to_owned()), first_used_at: Set(now) };
            pepper::Entity::insert(row).exec_without_returning(&transaction).await?;
        }
        Ok(transaction.commit().await?)
    }
}
