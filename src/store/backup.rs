//! Backup: a consistent copy of a SQLite database that may be in use.

use std::path::Path;

use sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::store::{Engine, Store, StoreError};

impl Store {
    /// Copies the database as of one moment into `file`, which must be empty.
    pub async fn backup_to(&self, file: &Path) -> Result<(), StoreError> {
        if let Engine::Postgres(_) = self.engine {
            return Err(StoreError::incompatible("for PostgreSQL, use its own tool: pg_dump --format=custom"));
        }
        let name = file.to_str().ok_or_else(|| StoreError::incompatible("the file's name is not UTF-8"))?;
        let copy = Statement::from_sql_and_values(DbBackend::Sqlite, "VACUUM INTO ?", [name.into()]);
        self.read(async |database| database.execute_raw(copy).await.map(drop)).await
    }
}
