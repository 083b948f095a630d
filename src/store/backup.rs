//! Backup: a copy of a SQLite database that may be in use.

use std::path::Path;

use sea_orm::{ConnectionTrait, DbBackend, Statement};

use super::{Engine, Store, StoreError};

impl Store {
    /// Copies a SQLite database as it is at one moment into this file, which is empty.
    pub async fn copy_to(&self, file: &Path) -> Result<(), StoreError> {
        if let Engine::Postgres(_) = self.engine {
            return Err(StoreError::refused("PostgreSQL has its own: pg_dump --format=custom"));
        }
        let name = file.to_str().ok_or_else(|| StoreError::refused("the file's name is not UTF-8"))?;
        let copy = Statement::from_sql_and_values(DbBackend::Sqlite, "VACUUM INTO ?", [name.into()]);
        self.read(async |database| database.execute_raw(copy).await.map(drop)).await
    }
}
