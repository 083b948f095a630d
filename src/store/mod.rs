//! Store: what outlives the process. One method is one transaction; no other room knows the tables.
//!
//! On SQLite or on PostgreSQL, and the code does not ask which: what differs is in [`sqlite`] and [`postgres`]. SQLite
//! has one writer at a time whatever a program does, so the writing is given to one connection and writers queue in
//! memory, in order, instead of fighting for the file's lock. PostgreSQL has many, so a transaction takes the lock of
//! the key that it is about before it reads what it goes by.

mod api_keys;
mod audit_events;
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
mod usage;

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

pub use api_keys::{Change, Creation, KeyFilter, Reach, Unchanged};
use api_keys::{Created, Found};
pub use audit_events::EventFilter;
use batch::Group;
pub use change_feed::{Changes, News};
pub use errors::StoreError;
pub use idempotency::Remembered;
pub use inspect::Inspection;
use migration::SchemaManager;
pub use postgres::Server;
pub use schema::Standing;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait,
};
pub use usage::KeyUse;

use crate::domain::secret::SecretHash;

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

    /// Asks the database.
    async fn read<T>(&self, ask: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>) -> Result<T, StoreError> {
        self.in_time(async { Ok(ask(&self.reader).await?) }).await
    }

    /// Changes the database: all that `work` does is on the disk when this returns, and nothing when `work` fails. After
    /// an outage in the midst of it, it is one or the other.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&DatabaseTransaction) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        self.in_time(async {
            let transaction = self.begin().await?;
            let done = work(&transaction).await?;
            transaction.commit().await?;
            Ok(done)
        })
        .await
    }

    /// What PostgreSQL does not answer in time is an outage: a connection that leads nowhere says so by nothing else.
    /// SQLite has no such connection. Of its file, another may have taken the place.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match &self.engine {
            Engine::Sqlite(file) => {
                file.check_in_place()?;
                work.await
            }
            Engine::Postgres(doubt) => {
                let mut work = pin!(work);
                // Goes before the work does, and with it its connection back to the others.
                let given_up = doubt.of_unfinished_work();
                let done = tokio::time::timeout(PATIENCE, work.as_mut()).await.map_err(postgres::no_answer)?;
                given_up.never_mind();
                done
            }
        }
    }

    /// The answer to one who asks together with others. The wait for those before counts: an outage is told as soon as to
    /// who asks alone.
    async fn together<A, T, F>(
        &self,
        group: &Group<A, Result<T, StoreError>>,
        asked: A,
        serve: impl Fn(Self, Vec<A>) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        A: Send + 'static,
        T: Send + 'static,
        F: Future<Output = Vec<Result<T, StoreError>>> + Send + 'static,
    {
        let answer = group.join(asked, self, serve);
        let answer = match self.engine {
            Engine::Sqlite(_) => answer.await,
            Engine::Postgres(_) => tokio::time::timeout(PATIENCE, answer).await.map_err(postgres::no_answer)?,
        };
        answer.unwrap_or_else(|| Err(StoreError::Unavailable("what was asked together was given up".into())))
    }

    /// Begins a change. It takes SQLite's write lock at once: a transaction that starts reading and turns to writing
    /// later fails without waiting when another process wrote in between.
    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.writer.begin_with_options(immediate).await
    }

    /// Begins a change that no other process's change of this kind runs beside, however long it takes: on SQLite none at
    /// all does.
    async fn begin_alone(&self) -> Result<DatabaseTransaction, DbErr> {
        let transaction = self.begin().await?;
        if let Engine::Postgres(_) = self.engine {
            transaction.execute_unprepared(postgres::ALONE).await?;
        }
        Ok(transaction)
    }

    /// Where the schema stands. Asking that is also the way to know that the database can be asked.
    pub async fn schema(&self) -> Result<Standing, StoreError> {
        self.read(async |database| schema::standing(&SchemaManager::new(database)).await).await
    }

    /// Copies a SQLite database as it is at one moment into this file, which is empty.
    pub async fn copy_to(&self, file: &Path) -> Result<(), StoreError> {
        if let Engine::Postgres(_) = self.engine {
            return Err(StoreError::refused("PostgreSQL has its own: pg_dump --format=custom"));
        }
        let name = file.to_str().ok_or_else(|| StoreError::refused("the file's name is not UTF-8"))?;
        let copy = Statement::from_sql_and_values(DbBackend::Sqlite, "VACUUM INTO ?", [name.into()]);
        self.read(async |database| database.execute_raw(copy).await.map(drop)).await
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
    pub async fn plan(&self, statement: Statement) -> Vec<String> {
        let explain = Statement { sql: format!("EXPLAIN QUERY PLAN {}", statement.sql), ..statement };
        let steps = self.reader.query_all_raw(explain).await.unwrap();
        steps.iter().map(|step| step.try_get("", "detail").unwrap()).collect()
    }
}
