//! Backup: a consistent copy of a SQLite database that may be in use.

use std::path::Path;

use entity::api_key;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, EntityTrait, QuerySelect, Statement};
use uuid::Uuid;

use crate::store::workload::Workload;
use crate::store::{Engine, Store, StoreError};

impl Store {
    /// Copies the database as of one moment into `file`, which must be empty. A database that never had a key is not
    /// copied: it is not the one that a backup is wanted of, and its copies would replace good ones.
    pub async fn backup_to(&self, file: &Path) -> Result<(), StoreError> {
        if let Engine::Postgres(_) = self.engine {
            return Err(StoreError::incompatible("for PostgreSQL, use its own tool: pg_dump --format=custom"));
        }
        let name = file.to_str().ok_or_else(|| StoreError::incompatible("the file's name is not UTF-8"))?;
        let any_key = api_key::Entity::find().select_only().column(api_key::Column::Id).into_tuple::<Uuid>();
        if self.read(async |database| any_key.one(database).await).await?.is_none() {
            return Err(StoreError::incompatible(
                "the database has no keys, so there is nothing to back up; check --data-dir (MINTKEY_DATA_DIR) and \
                 --database-url (MINTKEY_DATABASE_URL)",
            ));
        }
        let copy = Statement::from_sql_and_values(DbBackend::Sqlite, "VACUUM INTO ?", [name.into()]);
        // The error may be about either file.
        let failed = |error: DbErr| StoreError::Unavailable(format!("the copy to {name} failed: {error}"));
        let copied = async |database: &DatabaseConnection| database.execute_raw(copy).await.map(drop).map_err(failed);
        self.on_connection(Workload::Scan, copied).await
    }
}
