//! Inspection: what a database is like, found out without changing it.

use std::path::PathBuf;

use entity::pepper;
use migration::{Difference, Migrator, MigratorTrait};
use sea_orm::EntityTrait;

use super::{Store, StoreError, sqlite};

pub struct Inspection {
    pub schema: Difference,
    /// The peppers that its secrets were hashed with.
    pub peppers: Vec<String>,
}

impl Store {
    /// The file that the database is, or will be; nothing when it is not a file.
    pub fn file(url: &str) -> Option<PathBuf> {
        sqlite::path(url)
    }

    /// Nothing, when there is no database yet.
    pub async fn inspect(url: &str) -> Result<Option<Inspection>, StoreError> {
        if Self::file(url).is_some_and(|file| !file.exists()) {
            return Ok(None);
        }
        let connection = sqlite::open_to_read(url).await?;
        let schema = Migrator::difference(&connection).await?;
        // Before the first change there are no tables.
        let peppers = match schema.pending.len() == Migrator::migrations().len() {
            true => Vec::new(),
            false => pepper::Entity::find().all(&connection).await?,
        };
        connection.close().await?;
        Ok(Some(Inspection { schema, peppers: peppers.into_iter().map(|pepper| pepper.id).collect() }))
    }
}
