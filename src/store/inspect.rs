//! Inspection: a report on a database, made without changing it.

use std::path::PathBuf;
use std::sync::Arc;

use entity::pepper;
use migration::SchemaManager;
use sea_orm::EntityTrait;

use crate::store::{PostgresFacts, SchemaState, Store, StoreError, postgres, schema, sqlite};

#[derive(Default)]
pub struct DatabaseReport {
    pub schema: SchemaState,
    /// The ids of the peppers that its secrets were hashed with.
    pub peppers: Vec<String>,
    /// `None` for SQLite.
    pub postgres: Option<PostgresFacts>,
}

impl Store {
    /// The file of the database, whether or not it exists. `None` if the database is not a file.
    pub fn file(url: &str) -> Option<PathBuf> {
        sqlite::path(url)
    }

    pub async fn inspect(url: &str) -> Result<DatabaseReport, StoreError> {
        if Self::file(url).is_some_and(|file| !file.exists()) {
            return Ok(DatabaseReport::default());
        }
        let (connection, postgres) = match url.starts_with("sqlite:") {
            true => (sqlite::open_read_only(url).await?, None),
            false => {
                let facts = PostgresFacts::fetch(url).await?;
                let options = postgres::postgres_options(url)?.options([("default_transaction_read_only", "on")]);
                (postgres::open_postgres(options, 1, Arc::default()).await?, Some(facts))
            }
        };
        let schema = schema::state(&SchemaManager::new(&connection)).await?;
        let peppers = match schema {
            SchemaState::Missing => Vec::new(),
            _ => pepper::Entity::find().all(&connection).await?,
        };
        connection.close().await?;
        Ok(DatabaseReport { schema, postgres, peppers: peppers.into_iter().map(|pepper| pepper.id).collect() })
    }
}
