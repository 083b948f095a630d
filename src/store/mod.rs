//! Store: what outlives the process. One method is one transaction; no other room knows the tables.
//!
//! On SQLite or on PostgreSQL, and the code does not ask which: what differs is in [`sqlite`] and [`postgres`]. SQLite
//! has one writer at a time whatever a program does, so the writing is given to one connection and writers queue in
//! memory, in order, instead of fighting for the file's lock. PostgreSQL has many, so a transaction takes the lock of
//! the key that it is about before it reads what it goes by.

mod api_keys;
mod audit_events;
mod backup;
mod batch;
mod change_feed;
mod errors;
mod idempotency;
mod inspect;
mod peppers;
mod postgres;
mod schema;
mod sql;
mod sqlite;
mod transaction;
mod usage;

use std::sync::Arc;
use std::time::Duration;

pub use api_keys::{Change, Creation, KeyFilter, Unchanged};
use api_keys::{Created, Found};
pub use audit_events::EventFilter;
use batch::Group;
pub use change_feed::{Changes, News};
pub use errors::StoreError;
pub use idempotency::Remembered;
pub use inspect::Inspection;
use migration::SchemaManager;
pub use postgres::Server;
pub use schema::SchemaState;
use sea_orm::DatabaseConnection;
pub use usage::KeyUse;

use crate::domain::secret_hash::SecretHash;

/// How long a statement waits for a lock, a request for a connection, and a whole transaction for PostgreSQL, before the
/// answer is 503.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The connections of one kind to the database.
pub struct Pool {
    pub name: &'static str,
    pub connections: usize,
    pub idle: usize,
}

#[derive(Clone)]
pub struct Store {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
    engine: Engine,
    creations: Group<Creation, Created>,
    look_ups: Group<SecretHash, Found>,
}

#[derive(Clone)]
enum Engine {
    Sqlite(sqlite::File),
    Postgres(Arc<postgres::Doubt>),
}

impl Store {
    /// Opens the database, makes a SQLite one when absent, and brings its schema up to date. `connections` are
    /// PostgreSQL's, at most.
    pub async fn open(url: &str, connections: u32) -> Result<Self, StoreError> {
        // Nobody waits for an answer yet, and a machine that starts is a busy one.
        let mut attempts = 1..=3;
        let store = loop {
            match Self::connect(url, connections).await {
                Err(StoreError::Unavailable(_)) if attempts.next().is_some() => {}
                connected => break connected?,
            }
        };
        store.migrate().await?;
        Ok(store)
    }

    async fn connect(url: &str, connections: u32) -> Result<Self, StoreError> {
        let (reader, writer, engine, creating) = if url.starts_with("sqlite:") {
            let (reader, writer, file) = sqlite::open(url).await?;
            (reader, writer, Engine::Sqlite(file), 1)
        } else {
            let doubt = Arc::default();
            let pool = postgres::open(postgres::options(url)?, connections, Arc::clone(&doubt)).await?;
            (pool.clone(), pool, Engine::Postgres(doubt), 2)
        };
        Ok(Self { reader, writer, engine, creations: Group::new(creating), look_ups: Group::new(2) })
    }

    /// Where the schema stands. Asking that is also the way to know that the database can be asked.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        self.read(async |database| schema::state(&SchemaManager::new(database)).await).await
    }

    pub fn pools(&self) -> Vec<Pool> {
        let sizes = |name, connections: u32, idle| Pool { name, connections: connections as usize, idle };
        match self.engine {
            Engine::Sqlite(_) => [("reader", &self.reader), ("writer", &self.writer)]
                .map(|(name, connection)| (name, connection.get_sqlite_connection_pool()))
                .map(|(name, pool)| sizes(name, pool.size(), pool.num_idle()))
                .into(),
            Engine::Postgres(_) => {
                let pool = self.reader.get_postgres_connection_pool();
                vec![sizes("shared", pool.size(), pool.num_idle())]
            }
        }
    }

    /// Finishes the work in hand and closes every connection, which folds SQLite's log into the database.
    pub async fn close(self) -> Result<(), StoreError> {
        self.reader.close().await?;
        Ok(self.writer.close().await?)
    }
}

#[cfg(test)]
impl Store {
    /// An empty one on SQLite, in a directory that goes with what comes beside it.
    pub async fn temporary() -> (Self, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("mintkey.db").display());
        (Self::open(&url, 1).await.unwrap(), directory)
    }

    /// How SQLite will carry a statement out.
    pub async fn plan(&self, statement: sea_orm::Statement) -> Vec<String> {
        use sea_orm::ConnectionTrait;

        let explain = sea_orm::Statement { sql: format!("EXPLAIN QUERY PLAN {}", statement.sql), ..statement };
        let steps = self.reader.query_all_raw(explain).await.unwrap();
        steps.iter().map(|step| step.try_get("", "detail").unwrap()).collect()
    }
}
