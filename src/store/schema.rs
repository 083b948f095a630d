//! Schema: migrated when a process starts, and rejected when this binary cannot work with it.

use entity::schema_version::{ActiveModel, Column, Entity, ID};
use migration::{MIN_BINARY_VERSION, Migrator, MigratorTrait, SCHEMA_VERSION, SchemaManager};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter};

use crate::store::postgres::Privileges;
use crate::store::{Access, Engine, Store, StoreError};

/// The state of a database's schema, compared with the schema that this binary creates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SchemaState {
    /// The database has no tables.
    #[default]
    Missing,
    /// This many migrations are pending.
    Outdated(i32),
    Current,
    /// A newer binary migrated it, and only binaries from `min_binary_version` on can use it.
    Newer {
        version: i32,
        min_binary_version: i32,
    },
}

pub async fn state(schema: &SchemaManager<'_>) -> Result<SchemaState, DbErr> {
    if !schema.has_table("schema_version").await? {
        return Ok(SchemaState::Missing);
    }
    let row = Entity::find_by_id(ID).one(schema.get_connection()).await?;
    Ok(match row {
        None => SchemaState::Missing,
        Some(row) if row.version < SCHEMA_VERSION => SchemaState::Outdated(SCHEMA_VERSION - row.version),
        Some(row) if row.min_binary_version > SCHEMA_VERSION => {
            SchemaState::Newer { version: row.version, min_binary_version: row.min_binary_version }
        }
        Some(_) => SchemaState::Current,
    })
}

/// Returns what keeps a user of PostgreSQL from working with a schema in this state, and what to do.
pub fn obstacle(privileges: &Privileges, state: SchemaState) -> Option<String> {
    match state {
        SchemaState::Current => privileges.missing(),
        SchemaState::Missing => privileges.missing_on_hidden_tables().or_else(|| privileges.migration_obstacle()),
        SchemaState::Outdated(pending) => {
            let obstacle = privileges.migration_obstacle()?;
            Some(format!("{pending} migrations are pending, and {obstacle}"))
        }
        SchemaState::Newer { .. } => None,
    }
}

fn too_new(version: i32, min_binary_version: i32) -> StoreError {
    StoreError::Incompatible(format!(
        "a newer mintkey migrated the database to schema version {version}, which requires a binary of schema version \
         {min_binary_version} or later; this one has version {SCHEMA_VERSION}; run the newer one"
    ))
}

/// Deletes no row, but fails where rows cannot be deleted. PostgreSQL that takes no writes still verifies keys.
async fn reject_read_only(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    match transaction.get_database_backend() {
        DbBackend::Sqlite => Entity::delete_many().filter(Column::Id.ne(ID)).exec(transaction).await.map(drop),
        _ => Ok(()),
    }
}

impl Store {
    /// Returns an error that says what to do if a command cannot use the schema as it is.
    pub(super) async fn reject_unusable_schema(&self, url: &str, access: Access) -> Result<(), StoreError> {
        let database = Self::file(url).map_or("the database".to_owned(), |file| file.display().to_string());
        let reject = |reason: &str| Err(StoreError::Incompatible(format!("{database}{reason}")));
        match self.schema().await {
            Ok(SchemaState::Current) => Ok(()),
            Ok(SchemaState::Outdated(_)) if access == Access::Backup => Ok(()),
            Ok(SchemaState::Outdated(pending)) => {
                reject(&format!(": {pending} migrations are pending; run `mintkey migrate`"))
            }
            Ok(SchemaState::Missing) => reject(
                " has no tables of mintkey; check that this is the right one, or create them with `mintkey migrate`",
            ),
            Ok(SchemaState::Newer { version, min_binary_version }) => Err(too_new(version, min_binary_version)),
            Err(error) => Err(error),
        }
    }

    /// Fails if SQLite opened the file for reading only, which it does without an error if it may not write. A transaction
    /// then begins, and its first change fails.
    pub(super) async fn reject_read_only(&self) -> Result<(), StoreError> {
        self.write(async |transaction| reject_read_only(transaction).await).await
    }

    /// Applies the pending migrations in one transaction, so that a killed process leaves the schema as it was. Of
    /// processes that start together, the first migrates and the others wait. A newer schema stays as it is.
    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        self.write_exclusive(async |transaction| {
            let failed = |error| self.store_error(error);
            let state = state(&SchemaManager::new(transaction)).await.map_err(failed)?;
            if let Engine::Postgres(_) = self.engine
                && let Some(obstacle) = obstacle(&Privileges::query(transaction).await.map_err(failed)?, state)
            {
                return Err(StoreError::Incompatible(obstacle));
            }
            match state {
                SchemaState::Current => return reject_read_only(transaction).await.map_err(failed),
                SchemaState::Newer { version, min_binary_version } => return Err(too_new(version, min_binary_version)),
                SchemaState::Missing | SchemaState::Outdated(_) => {}
            }
            Migrator::up(transaction, None).await.map_err(failed)?;
            let row =
                ActiveModel { id: Set(ID), version: Set(SCHEMA_VERSION), min_binary_version: Set(MIN_BINARY_VERSION) };
            let update =
                OnConflict::column(Column::Id).update_columns([Column::Version, Column::MinBinaryVersion]).to_owned();
            Entity::insert(row).on_conflict(update).exec_without_returning(transaction).await.map(drop).map_err(failed)
        })
        .await
    }
}
