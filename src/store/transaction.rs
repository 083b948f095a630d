//! Transaction: how every statement is sent, within which time, and what its failure means.

use std::pin::pin;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};

use super::batch::Group;
use super::{Engine, PATIENCE, Store, StoreError, postgres};

impl Store {
    /// Asks the database.
    pub(super) async fn read<T>(
        &self,
        ask: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, DbErr>,
    ) -> Result<T, StoreError> {
        self.in_time(async { Ok(ask(&self.reader).await?) }).await
    }

    /// Changes the database: all that `work` does is on the disk when this returns, and nothing when `work` fails. After
    /// an outage in the midst of it, it is one or the other.
    pub(super) async fn write<T>(
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
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
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
    pub(super) async fn together<A, T, F>(
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
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.writer.begin_with_options(immediate).await
    }

    /// Begins a change that no other process's change of this kind runs beside, however long it takes: on SQLite none at
    /// all does.
    pub(super) async fn begin_alone(&self) -> Result<DatabaseTransaction, DbErr> {
        let transaction = self.begin().await?;
        if let Engine::Postgres(_) = self.engine {
            transaction.execute_unprepared(postgres::ALONE).await?;
        }
        Ok(transaction)
    }
}
