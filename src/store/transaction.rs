//! Transactions: how statements are sent to the database, and how long they may take.

use std::pin::pin;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};

use crate::store::batch::Batcher;
use crate::store::errors::SessionFault;
use crate::store::{Engine, STATEMENT_TIMEOUT, Store, StoreError, postgres};

impl Store {
    /// Runs a query outside a transaction.
    pub(super) async fn read<T>(
        &self,
        query: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        self.with_timeout(async { query(&self.reader).await.map_err(|error| self.store_error(error)) }).await
    }

    /// Runs `work` in a transaction. When this returns `Ok`, the changes are on disk. When `work` fails, there are
    /// none. After [`StoreError::Unavailable`], either is possible: the connection may have failed during the commit.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&DatabaseTransaction) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        self.with_timeout(async {
            let transaction = self.begin().await.map_err(|error| self.store_error(error))?;
            let value = work(&transaction).await.map_err(|error| self.store_error(error))?;
            transaction.commit().await.map_err(|error| self.store_error(error))?;
            Ok(value)
        })
        .await
    }

    /// Converts the error of a statement, after recording what it says of the connections.
    pub(super) fn store_error(&self, error: DbErr) -> StoreError {
        let error = match self.note_fault(&error) {
            Some(SessionFault::Lost) => StoreError::ConnectionLost(error.to_string()),
            _ => error.into(),
        };
        self.rejections.note(&error);
        error
    }

    fn note_fault(&self, error: &DbErr) -> Option<SessionFault> {
        let Engine::Postgres(health) = &self.engine else { return None };
        let fault = SessionFault::of(error)?;
        match fault {
            SessionFault::Lost => health.connection_lost(),
            SessionFault::ReadOnly => health.change_rejected(),
        }
        Some(fault)
    }

    /// Limits the time of work on PostgreSQL, because a broken connection may never return an error. SQLite needs no
    /// limit, but its file may have been replaced, which is checked first.
    pub(super) async fn with_timeout<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match &self.engine {
            Engine::Sqlite(file) => {
                file.check_not_replaced()?;
                let result = work.await;
                file.check_unchanged()?;
                result
            }
            Engine::Postgres(health) => {
                let mut work = pin!(work);
                // If this future is dropped, the guard marks the pool as suspect, and `work` returns its connection to
                // the pool. Locals are dropped in reverse order of declaration, so the mark comes first, and the pool
                // checks the connection.
                let guard = health.guard();
                let result = tokio::time::timeout(STATEMENT_TIMEOUT, work.as_mut()).await;
                if result.is_ok() {
                    guard.disarm();
                }
                match result.unwrap_or_else(|elapsed| Err(postgres::timed_out(elapsed))) {
                    // The error says only that no connection could be had.
                    Err(StoreError::Unavailable(_)) if health.is_standby() => {
                        Err(StoreError::Unavailable(postgres::STANDBY.into()))
                    }
                    result => result,
                }
            }
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
        let result = batcher.submit(item, self, run_batch);
        let result = match self.engine {
            Engine::Sqlite(_) => result.await,
            Engine::Postgres(_) => {
                tokio::time::timeout(STATEMENT_TIMEOUT, result).await.map_err(postgres::timed_out)?
            }
        };
        result.unwrap_or_else(|| Err(StoreError::Unavailable("the batch was abandoned".into())))
    }

    /// Begins a transaction, on SQLite with the write lock. A SQLite transaction that reads first and writes later
    /// fails at once, without waiting for the lock, if another process wrote in between.
    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        if let Engine::Postgres(health) = &self.engine {
            health.before_change();
        }
        match self.writer.begin_with_options(immediate).await {
            // Nothing was sent but BEGIN.
            Err(error) if self.note_fault(&error) == Some(SessionFault::Lost) => {
                self.writer.begin_with_options(immediate).await
            }
            begun => begun,
        }
    }

    /// Begins a transaction that excludes other exclusive transactions of all processes, and has no time limit.
    pub(super) async fn begin_exclusive(&self) -> Result<DatabaseTransaction, DbErr> {
        let transaction = self.begin().await?;
        if let Engine::Postgres(_) = self.engine {
            transaction.execute_unprepared(postgres::ADVISORY_LOCK_SQL).await?;
        }
        Ok(transaction)
    }
}
