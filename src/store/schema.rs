//! Schema: brought up to date at a start, and refused when it is one that this binary cannot live with.

use entity::schema_level::{Column, Entity, ID};
use migration::{LEVEL, Migrator, MigratorTrait, OLDEST_BINARY, SchemaManager};
use sea_orm::ActiveValue::Set;
use sea_orm::EntityTrait;
use sea_orm::sea_query::OnConflict;

use super::{Store, StoreError};

impl Store {
    /// All migrations are one transaction: a start that is killed leaves the schema as it was, and of starts at once the
    /// first does the work and the others find it done. A schema that is ahead is left as it is.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let transaction = self.begin_alone().await?;
        if SchemaManager::new(&transaction).has_table("schema_level").await?
            && let Some(schema) = Entity::find_by_id(ID).one(&transaction).await?
            && schema.level >= LEVEL
        {
            return if schema.oldest_binary <= LEVEL {
                Ok(())
            } else {
                Err(StoreError::Refused(format!(
                    "the database was brought up to date by a newer mintkey: its schema is at level {}, which takes a \
                     binary of level {} or later, and this one's is {LEVEL}; use the newer one",
                    schema.level, schema.oldest_binary
                )))
            };
        }
        Migrator::up(&transaction, None).await?;
        let row =
            entity::schema_level::ActiveModel { id: Set(ID), level: Set(LEVEL), oldest_binary: Set(OLDEST_BINARY) };
        let renew = OnConflict::column(Column::Id).update_columns([Column::Level, Column::OldestBinary]).to_owned();
        Entity::insert(row).on_conflict(renew).exec_without_returning(&transaction).await?;
        Ok(transaction.commit().await?)
    }
}
