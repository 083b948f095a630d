//! Write lock: SQLite has one, for all processes. All waits before a change have one time limit together.

use sea_orm::{DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait};
use tokio::time::{Instant, timeout_at};

use crate::store::errors::SqliteFault;
use crate::store::sqlite::Pools;
use crate::store::workload::Workload;
use crate::store::{STATEMENT_TIMEOUT, StoreError};

impl Pools {
    /// Begins a transaction with the write lock, which is repeated while another process has the lock. A transaction that
    /// reads first and writes later would fail at once, without waiting for the lock, if another process wrote in between.
    pub async fn begin_before(&self, deadline: Instant) -> Result<DatabaseTransaction, StoreError> {
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        loop {
            let begun = timeout_at(deadline, self.writer.begin_with_options(immediate)).await;
            let Ok(begun) = begun else { return Err(self.busy_error()) };
            let fault = begun.as_ref().err().and_then(SqliteFault::of).map(|(fault, _)| fault);
            self.writing.set_locked_out(fault == Some(SqliteFault::Locked));
            match begun {
                Err(_) if fault == Some(SqliteFault::Locked) && Instant::now() < deadline => {}
                begun => return begun.map_err(|error| self.error(Workload::Change, error)),
            }
        }
    }

    /// The error of work for which the writer was not free in time.
    pub fn busy_error(&self) -> StoreError {
        match self.writing.is_locked_out() {
            true => self.file.locked_error(),
            false => StoreError::Unavailable(format!("earlier work took longer than {STATEMENT_TIMEOUT:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sea_orm::ConnectionTrait;

    use super::*;
    use crate::store::Store;
    use crate::store::api_keys::key_insert;
    use crate::store::sqlite::LOCK_POLL;
    use crate::store::sqlite::tests::{NO_CHANGE, open_elsewhere};

    #[tokio::test]
    async fn write_during_a_lock_begins_when_it_is_released_or_says_who_has_it() {
        let (store, directory) = Store::temporary().await;
        let other = open_elsewhere(directory.path()).await;
        other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
        let write = async |wait: Duration| {
            let change = async |change: &DatabaseTransaction| change.execute_unprepared(NO_CHANGE).await;
            store.write_before(Instant::now() + wait, change).await
        };
        let error = write(Duration::from_secs(2)).await.unwrap_err().to_string();
        assert!(error.contains("another process holds the write lock of") && error.contains("mintkey.db"), "{error}");

        let mut waiting = std::pin::pin!(write(Duration::from_secs(60)));
        for _ in 0..3 {
            tokio::select! {
                _ = &mut waiting => panic!("it began during the lock"),
                () = tokio::time::sleep(2 * LOCK_POLL) => {}
            }
        }
        other.execute_unprepared("ROLLBACK").await.unwrap();
        waiting.await.unwrap();
    }

    /// All began before the last one, and wait no longer than it, however many batches they make.
    #[tokio::test]
    async fn creates_during_a_lock_fail_before_a_later_write_does() {
        let (store, directory) = Store::temporary().await;
        let other = open_elsewhere(directory.path()).await;
        other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
        let creates = (0..200).map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.create_key(key_insert(number)).await })
        });
        let mut creates: Vec<_> = creates.collect();
        creates.swap_remove(0).await.unwrap().unwrap_err();
        store.write(async |change| change.execute_unprepared(NO_CHANGE).await).await.unwrap_err();
        assert!(creates.iter().all(tokio::task::JoinHandle::is_finished));
        for create in creates {
            let error = create.await.unwrap().unwrap_err().to_string();
            assert!(error.contains("another process holds the write lock"), "{error}");
        }
        other.execute_unprepared("ROLLBACK").await.unwrap();
        assert!(store.create_key(key_insert(1)).await.is_ok());
    }
}
