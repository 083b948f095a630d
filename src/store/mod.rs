//! Store: everything that outlives the process. One method is one transaction. Only this layer knows the tables.
//!
//! The code is the same for SQLite and PostgreSQL; differences are in [`sqlite`] and [`postgres`]. SQLite has one
//! writer at a time, so all writes use one connection, and writers queue in memory, in order, instead of competing for
//! the file lock. PostgreSQL has many writers, so a transaction locks a key's row before it reads what it decides by.

mod api_keys;
mod audit_events;
mod backup;
mod batch;
mod change_feed;
mod change_positions;
mod errors;
mod idempotency;
mod inspect;
mod owner;
mod owner_key_counts;
mod peppers;
mod postgres;
mod revocation_jobs;
mod scan;
mod schema;
mod sql;
mod sqlite;
mod transaction;
mod usage;
mod workload;
mod write_probe;

use std::sync::Arc;
use std::time::Duration;

use migration::SchemaManager;

use crate::domain::api_key::KeyForSecret;
use crate::domain::secret_hash::SecretHash;
use crate::store::api_keys::QueuedInsert;
use crate::store::batch::Batcher;
use crate::store::postgres::Privileges;
use crate::store::workload::Workload;
use crate::store::write_probe::RecentRejection;

pub use crate::store::api_keys::{
    ChangeOutcome, ChangedTree, InsertOutcome, KeyChange, KeyFilter, KeyInsert, LockedKey,
};
pub use crate::store::audit_events::EventFilter;
pub use crate::store::change_feed::{ChangeEvent, ChangeFeed};
pub use crate::store::change_positions::CommittedChange;
pub use crate::store::errors::{Rejection, StoreError};
pub use crate::store::idempotency::SavedResponse;
pub use crate::store::inspect::DatabaseReport;
pub use crate::store::peppers::PepperUse;
pub use crate::store::postgres::{Encryption, PostgresFacts};
pub use crate::store::revocation_jobs::{BatchLimits, JobBatch, KeyPage};
pub use crate::store::schema::SchemaState;
pub use crate::store::usage::UsageDelta;

/// The time limit of a whole transaction on PostgreSQL, waits included, and of all waits before one on SQLite: for a batch,
/// the writer and the write lock. Then the response is 503.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(1500);

/// The connections of one pool.
pub struct PoolStats {
    pub name: &'static str,
    pub connections: usize,
    pub idle: usize,
}

#[derive(Clone)]
pub struct Store {
    engine: Engine,
    insert_batcher: Batcher<QueuedInsert, Result<InsertOutcome, StoreError>>,
    /// Of keys that keys create.
    child_insert_batcher: Batcher<QueuedInsert, Result<InsertOutcome, StoreError>>,
    lookup_batcher: Batcher<SecretHash, Result<Option<KeyForSecret>, StoreError>>,
    rejections: Arc<RecentRejection>,
}

/// What a command does with a database that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
    /// Reads, also while migrations are pending: a backup is made before an upgrade.
    Backup,
}

#[derive(Clone)]
enum Engine {
    Sqlite(Arc<sqlite::Pools>),
    Postgres(Arc<postgres::Connections>),
}

impl Store {
    /// Opens the database, creates it if it is a SQLite file that does not exist, and migrates it. `connections` limits
    /// the connections to PostgreSQL.
    pub async fn open(url: &str, connections: u32) -> Result<Self, StoreError> {
        if let Some(file) = Self::file(url) {
            sqlite::create_private_file(&file)?;
        }
        let store = retry_connect(async || Self::connect(url, connections).await).await?;
        store.closed_on_error(async |store| store.migrate().await).await
    }

    /// Opens a database that exists and has the schema of this binary. Creates and migrates nothing.
    pub async fn open_existing(url: &str, connections: u32, access: Access) -> Result<Self, StoreError> {
        let store = retry_connect(async || Self::connect_read_only(url).await).await?;
        store.reject_unusable_schema(url, access).await?;
        if access != Access::ReadWrite {
            return Ok(store);
        }
        store.close().await?;
        let store = retry_connect(async || Self::connect(url, connections).await).await?;
        store.closed_on_error(async |store| store.reject_read_only().await).await
    }

    /// Returns the store if the check passes. Else closes it: SQLite removes its log and shared memory only then.
    async fn closed_on_error(
        self,
        check: impl AsyncFnOnce(&Self) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        match check(&self).await {
            Ok(()) => Ok(self),
            Err(error) => {
                self.close().await?;
                Err(error)
            }
        }
    }

    async fn connect(url: &str, connections: u32) -> Result<Self, StoreError> {
        if url.starts_with("sqlite:") {
            return Ok(Self::new(Engine::Sqlite(sqlite::open_sqlite(url).await?)));
        }
        let options = postgres::postgres_options(url)?;
        Ok(Self::new(Engine::Postgres(postgres::open_postgres(&options, connections).await?)))
    }

    /// Connects so that no statement can change the database, and no file is created.
    async fn connect_read_only(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("sqlite:") {
            return Ok(Self::new(Engine::Sqlite(sqlite::open_read_only(url).await?)));
        }
        let options = postgres::postgres_options(url)?.options([("default_transaction_read_only", "on")]);
        Ok(Self::new(Engine::Postgres(postgres::open_postgres(&options, 1).await?)))
    }

    fn new(engine: Engine) -> Self {
        let concurrent_inserts = if matches!(engine, Engine::Sqlite(_)) { 1 } else { 2 };
        let insert_batcher = Batcher::new(concurrent_inserts);
        let child_insert_batcher = Batcher::new(concurrent_inserts);
        let lookup_batcher = Batcher::new(2);
        let rejections = Arc::default();
        Self { engine, insert_batcher, child_insert_batcher, lookup_batcher, rejections }
    }

    /// The state of the schema. Readiness uses this query as a probe of the database, too.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        let state =
            self.run(Workload::Probe, async |database| schema::state(&SchemaManager::new(database)).await).await;
        if let Engine::Postgres(_) = self.engine
            && let Ok(SchemaState::Missing) | Err(StoreError::Rejected(..)) = state
        {
            let privileges = self.run(Workload::Probe, async |database| Privileges::query(database).await).await?;
            if let Some(missing) = privileges.missing_on_hidden_tables() {
                return Err(StoreError::Incompatible(missing));
            }
        }
        state
    }

    /// True if the last connection was refused because its server is a standby.
    pub fn is_standby(&self) -> bool {
        matches!(&self.engine, Engine::Postgres(connections) if connections.health.is_standby())
    }

    /// Records that the change feed failed. What ended its connection may have ended the pooled ones.
    fn change_feed_failed(&self) {
        if let Engine::Postgres(connections) = &self.engine {
            connections.health.connection_lost();
        }
    }

    pub fn pool_stats(&self) -> Vec<PoolStats> {
        match &self.engine {
            Engine::Sqlite(pools) => {
                [("reader", &pools.reader), ("scanner", &pools.scanner), ("writer", &pools.writer)]
                    .map(|(name, connection)| (name, connection.get_sqlite_connection_pool()))
                    .map(|(name, pool)| PoolStats { name, connections: pool.size() as usize, idle: pool.num_idle() })
                    .into()
            }
            Engine::Postgres(pool) => {
                let (connections, idle) = pool.size();
                vec![PoolStats { name: "shared", connections, idle }]
            }
        }
    }

    /// Waits for running statements and closes all connections. SQLite then merges its write-ahead log into the
    /// database file.
    pub async fn close(self) -> Result<(), StoreError> {
        match self.engine {
            Engine::Sqlite(pools) => {
                for pool in [&pools.reader, &pools.scanner, &pools.writer] {
                    pool.close_by_ref().await?;
                }
            }
            Engine::Postgres(connections) => connections.close().await,
        }
        Ok(())
    }
}

/// Retries while the database is unavailable: no client waits yet, and a machine that has just started is slow.
async fn retry_connect(connect: impl AsyncFn() -> Result<Store, StoreError>) -> Result<Store, StoreError> {
    let mut retries = 1..=3;
    loop {
        match connect().await {
            Err(StoreError::Unavailable(_) | StoreError::ConnectionLost(_)) if retries.next().is_some() => {}
            connected => return connected,
        }
    }
}

#[cfg(test)]
impl Store {
    /// Returns an empty SQLite store and the directory that holds it.
    pub async fn temporary() -> (Self, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("mintkey.db").display());
        (Self::open(&url, 1).await.unwrap(), directory)
    }

    pub(super) fn sqlite(&self) -> &sqlite::Pools {
        match &self.engine {
            Engine::Sqlite(pools) => pools,
            Engine::Postgres(_) => panic!("not SQLite"),
        }
    }

    /// Returns SQLite's query plan of a statement.
    pub async fn plan(&self, statement: sea_orm::Statement) -> Vec<String> {
        use sea_orm::ConnectionTrait;

        let explain = sea_orm::Statement { sql: format!("EXPLAIN QUERY PLAN {}", statement.sql), ..statement };
        let steps = self.sqlite().reader.query_all_raw(explain).await.unwrap();
        steps.iter().map(|step| step.try_get("", "detail").unwrap()).collect()
    }
}
