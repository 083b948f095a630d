//! Inspection: what a database is like, found out without changing it.

use std::path::PathBuf;

use entity::pepper;
use migration::{LEVEL, SchemaManager};
use sea_orm::EntityTrait;

use super::{Standing, Store, StoreError, postgres, schema, sqlite};

pub struct Inspection {
    pub schema: Standing,
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
        let connection = match url.starts_with("sqlite:") {
            true => sqlite::open_to_read(url).await?,
            false => postgres::open(url, 1).await?,
        };
        let schema = schema::standing(&SchemaManager::new(&connection)).await?;
        // Before the first change there are no tables.
        let peppers = match schema {
            Standing::Behind(LEVEL) => Vec::new(),
            _ => pepper::Entity::find().all(&connection).await?,
        };
        connection.close().await?;
        Ok(Some(Inspection { schema, peppers: peppers.into_iter().map(|pepper| pepper.id).collect() }))
    }
}
