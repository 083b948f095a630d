//! Schema: brought up to date at a start, and refused when it is one that this binary cannot live with.

use entity::schema_level::{Column, Entity, ID};
use migration::{LEVEL, Migrator, MigratorTrait, OLDEST_BINARY, SchemaManager};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{DbErr, EntityTrait};

use super::{Store, StoreError};

/// Where a schema stands, as this binary sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// So many migrations are not done.
    Behind(i32),
    Fits,
    /// A newer binary brought it to this level, and it takes one of that level.
    Ahead {
        level: i32,
        oldest_binary: i32,
    },
}

pub async fn standing(schema: &SchemaManager<'_>) -> Result<Standing, DbErr> {
    let found = match schema.has_table("schema_level").await? {
        true => Entity::find_by_id(ID).one(schema.get_connection()).await?,
        false => None,
    };
    Ok(match found {
        None => Standing::Behind(LEVEL),
        Some(found) if found.level < LEVEL => Standing::Behind(LEVEL - found.level),
        Some(found) if found.oldest_binary > LEVEL => {
            Standing::Ahead { level: found.level, oldest_binary: found.oldest_binary }
        }
        Some(_) => Standing::Fits,
    })
}

impl Store {
    /// All migrations are one transaction: a start that is killed leaves the schema as it was, and of starts at once the
    /// first does the work and the others find it done. A schema that is ahead is left as it is.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let transaction = self.begin_alone().await?;
        match standing(&SchemaManager::new(&transaction)).await? {
            Standing::Fits => return Ok(()),
            Standing::Ahead { level, oldest_binary } => {
                return Err(StoreError::Refused(format!(
                    "the database was brought up to date by a newer mintkey: its schema is at level {level}, which takes a \
                     binary of level {oldest_binary} or later, and this one's is {LEVEL}; use the newer one"
                )));
            }
            Standing::Behind(_) => {}
        }
        Migrator::up(&transaction, None).await?;
        let row =
            entity::schema_level::ActiveModel { id: Set(ID), level: Set(LEVEL), oldest_binary: Set(OLDEST_BINARY) };
        let renew = OnConflict::column(Column::Id).update_columns([Column::Level, Column::OldestBinary]).to_owned();
        Entity::insert(row).on_conflict(renew).exec_without_returning(&transaction).await?;
        Ok(transaction.commit().await?)
    }
}
