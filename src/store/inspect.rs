//! Inspection: what a database is like, found out without changing it.

use std::path::PathBuf;
use std::sync::Arc;

use entity::pepper;
use migration::SchemaManager;
use sea_orm::EntityTrait;

use super::{SchemaState, Server, Store, StoreError, postgres, schema, sqlite};

#[derive(Default)]
pub struct Inspection {
    pub schema: SchemaState,
    /// The peppers that its secrets were hashed with.
    pub peppers: Vec<String>,
    /// Of PostgreSQL.
    pub server: Option<Server>,
}

impl Store {
    /// The file that the database is, or will be; nothing when it is not a file.
    pub fn file(url: &str) -> Option<PathBuf> {
        sqlite::path(url)
    }

    pub async fn inspect(url: &str) -> Result<Inspection, StoreError> {
        if Self::file(url).is_some_and(|file| !file.exists()) {
            return Ok(Inspection::default());
        }
        let (connection, server) = match url.starts_with("sqlite:") {
            true => (sqlite::open_to_read(url).await?, None),
            false => {
                let server = Server::inspect(url).await?;
                let options = postgres::options(url)?.options([("default_transaction_read_only", "on")]);
                (postgres::open(options, 1, Arc::default()).await?, Some(server))
            }
        };
        let schema = schema::state(&SchemaManager::new(&connection)).await?;
        let peppers = match schema {
            SchemaState::Missing => Vec::new(),
            _ => pepper::Entity::find().all(&connection).await?,
        };
        connection.close().await?;
        Ok(Inspection { schema, server, peppers: peppers.into_iter().map(|pepper| pepper.id).collect() })
    }
}
