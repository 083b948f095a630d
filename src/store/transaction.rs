//! Transactions: how statements are sent to the database, and how long they may take.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tokio::time::Instant;

use crate::store::batch::{BatchFailure, Batcher};
use crate::store::errors::SessionFault;
use crate::store::workload::Workload;
use crate::store::{Engine, STATEMENT_TIMEOUT, Store, StoreError, postgres};

/// How long a start waits for SQLite's write lock: another process may be migrating.
const EXCLUSIVE_LOCK_TIMEOUT: Duration = Duration::from_secs(5);

impl Store {
    /// Runs a query for few rows outside a transaction.
    pub(super) async fn read<T>(
        &self,
        query: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        self.run(Workload::Lookup, query).await
    }

    /// Runs a query for many rows outside a transaction. Waits for other such queries, and lets none but these wait.
    pub(super) async fn scan<T>(
        &self,
        query: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        self.run(Workload::Scan, query).await
    }

    /// Runs statements outside a transaction.
    pub(super) async fn run<T>(
        &self,
        workload: Workload,
        statements: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        self.on_connection(workload, async |database| {
            statements(database).await.map_err(|error| self.error_of(workload, error))
        })
        .await
    }

    /// Runs `work` in a transaction. When this returns `Ok`, the changes are on disk. When `work` fails, there are
    /// none. After [`StoreError::Unavailable`], either is possible: the connection may have failed during the commit.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&DatabaseTransaction) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        self.write_before(Instant::now() + STATEMENT_TIMEOUT, work).await
    }

    /// The same, for work that has waited already. On SQLite, the transaction begins before the deadline or not at all, and
    /// takes as long as it needs.
    pub(super) async fn write_before<T>(
        &self,
        deadline: Instant,
        work: impl AsyncFnOnce(&DatabaseTransaction) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        self.on_connection(Workload::Change, async |database| {
            let transaction = self.begin(database, deadline).await?;
            let value = work(&transaction).await.map_err(|error| self.store_error(error))?;
            transaction.commit().await.map_err(|error| self.store_error(error))?;
            Ok(value)
        })
        .await
    }

    /// Runs `work` in a transaction that excludes other exclusive ones of all processes, and has no time limit.
    pub(super) async fn write_exclusive<T>(
        &self,
        work: impl AsyncFnOnce(&DatabaseTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let exclusive = async |database: &DatabaseConnection| {
            let transaction = self.begin(database, Instant::now() + EXCLUSIVE_LOCK_TIMEOUT).await?;
            if let Engine::Postgres(_) = self.engine {
                transaction.execute_unprepared(postgres::ADVISORY_LOCK_SQL).await?;
            }
            let value = work(&transaction).await?;
            transaction.commit().await.map_err(|error| self.store_error(error))?;
            Ok(value)
        };
        match &self.engine {
            Engine::Sqlite(pools) => exclusive(&pools.writer).await,
            Engine::Postgres(connections) => connections.run_long(Workload::Change, exclusive).await,
        }
    }

    /// Converts the error of a change, after recording what it says of the connections.
    pub(super) fn store_error(&self, error: DbErr) -> StoreError {
        self.error_of(Workload::Change, error)
    }

    fn error_of(&self, workload: Workload, error: DbErr) -> StoreError {
        let error = match &self.engine {
            Engine::Sqlite(pools) => pools.error(workload, error),
            Engine::Postgres(_) => match self.note_fault(&error) {
                Some(SessionFault::Lost) => StoreError::ConnectionLost(error.to_string()),
                _ => error.into(),
            },
        };
        self.rejections.note(&error);
        error
    }

    fn note_fault(&self, error: &DbErr) -> Option<SessionFault> {
        let Engine::Postgres(connections) = &self.engine else { return None };
        let fault = SessionFault::of(error)?;
        match fault {
            SessionFault::Lost => connections.health.connection_lost(),
            SessionFault::ReadOnly => connections.health.change_rejected(),
        }
        Some(fault)
    }

    /// Runs work on a connection for it. On PostgreSQL its time is limited, because a broken connection may never return
    /// an error. On SQLite only the wait for the write lock is limited, but the file may have been replaced, which is
    /// checked first.
    pub(super) async fn on_connection<T>(
        &self,
        workload: Workload,
        work: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &self.engine {
            Engine::Sqlite(pools) => {
                pools.file.check_not_replaced()?;
                let result = work(pools.of(workload)).await;
                pools.file.check_unchanged()?;
                result
            }
            Engine::Postgres(connections) => connections.run(workload, work).await,
        }
    }

    /// Submits an item to a batch. The time limit includes the wait for earlier batches, so that an outage is reported
    /// within the same time as without batching.
    pub(super) async fn batched<A, T, F>(
        &self,
        batcher: &Batcher<A, Result<T, StoreError>>,
        item: A,
        run_batch: impl Fn(Self, Vec<A>) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        A: Send + 'static,
        T: Send + 'static,
        F: Future<Output = Vec<Result<T, StoreError>>> + Send + 'static,
    {
        let result = match &self.engine {
            Engine::Sqlite(pools) => {
                let submitted = batcher.submit(item, Some(STATEMENT_TIMEOUT), self, run_batch);
                submitted.await.map_err(|failure| match failure {
                    BatchFailure::NotStarted => pools.busy_error(),
                    BatchFailure::Panicked => abandoned(),
                })
            }
            Engine::Postgres(_) => {
                let submitted = batcher.submit(item, None, self, run_batch);
                let submitted =
                    tokio::time::timeout(STATEMENT_TIMEOUT, submitted).await.map_err(postgres::timed_out)?;
                submitted.map_err(|_| abandoned())
            }
        };
        result?
    }

    /// Begins a transaction, on SQLite with the write lock and before the deadline.
    async fn begin(&self, database: &DatabaseConnection, deadline: Instant) -> Result<DatabaseTransaction, StoreError> {
        if let Engine::Sqlite(pools) = &self.engine {
            return pools.begin_before(deadline).await;
        }
        match database.begin().await {
            // Nothing was sent but BEGIN.
            Err(error) if self.note_fault(&error) == Some(SessionFault::Lost) => database.begin().await,
            begun => begun,
        }
        .map_err(|error| self.store_error(error))
    }
}

fn abandoned() -> StoreError {
    StoreError::Unavailable("the batch was abandoned".into())
}
