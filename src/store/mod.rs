//! Store: what outlives the process. One method is one transaction; no other room knows the tables.
//!
//! SQLite has one writer at a time whatever a program does. The store gives the writing to one connection, so that
//! writers queue in memory, in order, instead of fighting for the file's lock.

mod audit;
mod errors;
mod idempotency;
mod inspect;
mod keys;
mod peppers;
mod sqlite;
mod usage;

pub use audit::EventFilter;
pub use errors::StoreError;
pub use idempotency::Remembered;
pub use inspect::Inspection;
pub use keys::{Change, KeyFilter, Reach, Unchanged};
use migration::{Difference, Migrator, MigratorTrait};
use sea_orm::{DatabaseConnection, DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait};
pub use usage::KeyUse;

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
    file: sqlite::File,
}

impl Store {
    /// Opens the database, creating it when absent, and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let (reader, writer, file) = sqlite::open(url).await?;
        let store = Self { reader, writer, file };
        store.migrate().await?;
        Ok(store)
    }

    /// All migrations are one transaction: a start that is killed leaves the schema as it was, and of two starts at
    /// once the second finds the work done.
    async fn migrate(&self) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        Migrator::up(&transaction, None).await?;
        Ok(transaction.commit().await?)
    }

    /// Begins a change. It takes SQLite's write lock at once: a transaction that starts reading and turns to writing
    /// later fails without waiting when another process wrote in between.
    async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        self.file.check_in_place()?;
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.writer.begin_with_options(immediate).await?)
    }

    /// Where questions go. SQLite would answer them from a file that is no longer the database.
    fn reader(&self) -> Result<&DatabaseConnection, StoreError> {
        self.file.check_in_place()?;
        Ok(&self.reader)
    }

    /// A number that is another whenever another process has changed the database. It is the writer's own: a connection
    /// is told of every change but its own, and all of ours are its own.
    pub async fn version_of_others(&self) -> Result<i64, StoreError> {
        self.file.check_in_place()?;
        sqlite::data_version(&self.writer).await
    }

    /// How far the schema is from this program's. Asking that is also the way to know that the store answers.
    pub async fn schema(&self) -> Result<Difference, StoreError> {
        Ok(Migrator::difference(self.reader()?).await?)
    }

    pub fn pools(&self) -> [Pool; 2] {
        [("reader", &self.reader), ("writer", &self.writer)].map(|(name, connection)| {
            let pool = connection.get_sqlite_connection_pool();
            Pool { name, connections: pool.size() as usize, idle: pool.num_idle() }
        })
    }

    /// Finishes the work in hand and closes every connection, which folds SQLite's log into the database.
    pub async fn close(self) -> Result<(), StoreError> {
        self.reader.close().await?;
        Ok(self.writer.close().await?)
    }
}
