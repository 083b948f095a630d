//! Inspection: a report on a database, made without changing it.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::store::{PepperUse, PostgresFacts, SchemaState, Store, StoreError, schema, sqlite};

#[derive(Default)]
pub struct DatabaseReport {
    pub schema: SchemaState,
    /// What keeps the user of the URL from working with it, and what to do.
    pub obstacle: Option<String>,
    /// The peppers that its secrets were hashed with. Empty unless the schema is up to date.
    pub peppers: Vec<PepperUse>,
    /// `None` for SQLite.
    pub postgres: Option<PostgresFacts>,
}

impl Store {
    /// The file of the database, whether or not it exists. `None` if the database is not a file.
    pub fn file(url: &str) -> Option<PathBuf> {
        sqlite::path(url)
    }

    pub async fn inspect(url: &str, now: DateTime<Utc>) -> Result<DatabaseReport, StoreError> {
        if Self::file(url).is_some_and(|file| matches!(file.try_exists(), Ok(false))) {
            return Ok(DatabaseReport::default());
        }
        let postgres = if url.starts_with("sqlite:") { None } else { Some(PostgresFacts::fetch(url).await?) };
        let store = Self::connect_read_only(url).await?;
        let schema = store.schema().await?;
        let obstacle = postgres.as_ref().and_then(|postgres| schema::obstacle(&postgres.privileges, schema));
        let peppers = match schema {
            SchemaState::Current if obstacle.is_none() => store.count_secrets_by_pepper(now).await?,
            _ => Vec::new(),
        };
        store.close().await?;
        Ok(DatabaseReport { schema, obstacle, postgres, peppers })
    }
}
