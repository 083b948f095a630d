//! Rehash: replaces a secret's hash under an old pepper by its hash under the newest.

use entity::{api_key, rotated_secret};
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::secret_hash::SecretHash;
use crate::store::api_keys::find::find_record;
use crate::store::{Store, StoreError, change_feed};

impl Store {
    /// Stores a new hash of a secret. Locks its key, because a concurrent change publishes the hashes that it has read.
    pub async fn rehash_secret(
        &self,
        key: Uuid,
        id: Uuid,
        hash: SecretHash,
        pepper_id: &str,
    ) -> Result<(), StoreError> {
        self.write(async |transaction| {
            let keys = AccessFilter::Any.api_keys_query().filter(api_key::Column::Id.eq(key));
            let before = find_record(transaction, keys.lock_exclusive()).await?;
            // Publishes the old hashes: a replica that still uses the old pepper caches the key under one of them, and
            // later changes publish the new hash only.
            change_feed::publish(transaction, &before).await?;
            let row = api_key::ActiveModel {
                secret_hash: Set(hash.0.to_vec()),
                secret_pepper_id: Set(pepper_id.to_owned()),
                ..Default::default()
            };
            let current = Condition::all().add(api_key::Column::Id.eq(key)).add(api_key::Column::SecretId.eq(id));
            api_key::Entity::update_many().set(row).filter(current).exec(transaction).await?;
            let row = rotated_secret::ActiveModel {
                hash: Set(hash.0.to_vec()),
                pepper_id: Set(pepper_id.to_owned()),
                ..Default::default()
            };
            let rotated =
                Condition::all().add(rotated_secret::Column::KeyId.eq(key)).add(rotated_secret::Column::Id.eq(id));
            rotated_secret::Entity::update_many().set(row).filter(rotated).exec(transaction).await.map(drop)
        })
        .await
    }
}
