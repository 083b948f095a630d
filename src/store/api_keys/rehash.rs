//! Rehash: a secret moves from an old pepper to the newest.

use entity::{api_key, rotated_secret};
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use super::find::find;
use crate::domain::access::AccessFilter;
use crate::domain::secret_hash::SecretHash;
use crate::store::{Store, StoreError, change_feed};

impl Store {
    /// A secret of this key that was hashed with an old pepper, hashed with the newest. Not beside a change of the key,
    /// which tells of its secrets by the hashes that it has read.
    pub async fn rehash_secret(
        &self,
        key: Uuid,
        id: Uuid,
        hash: SecretHash,
        pepper_id: &str,
    ) -> Result<(), StoreError> {
        self.write(async |transaction| {
            let before = find(
                transaction,
                AccessFilter::Any.api_keys_query().filter(api_key::Column::Id.eq(key)).lock_exclusive(),
            )
            .await?;
            // To a replica that goes by the old pepper the key is known by the old hash, and changes by the new.
            change_feed::tell(transaction, &before).await?;
            let row = api_key::ActiveModel {
                secret_hash: Set(hash.0.to_vec()),
                secret_pepper_id: Set(pepper_id.to_owned()),
                ..Default::default()
            };
            let newest = Condition::all().add(api_key::Column::Id.eq(key)).add(api_key::Column::SecretId.eq(id));
            api_key::Entity::update_many().set(row).filter(newest).exec(transaction).await?;
            let row = rotated_secret::ActiveModel {
                hash: Set(hash.0.to_vec()),
                pepper_id: Set(pepper_id.to_owned()),
                ..Default::default()
            };
            let former =
                Condition::all().add(rotated_secret::Column::KeyId.eq(key)).add(rotated_secret::Column::Id.eq(id));
            rotated_secret::Entity::update_many().set(row).filter(former).exec(transaction).await.map(drop)
        })
        .await
    }
}
