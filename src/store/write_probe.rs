//! Write probe: whether the database takes changes.
//!
//! A small write alone does not tell: on a full disk it may still fit where a larger one does not. So a change that was
//! rejected for that counts for a while, too.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};

use crate::store::postgres::Privileges;
use crate::store::{Engine, Rejection, Store, StoreError};

/// The time for which a rejected change counts, whatever the probe finds.
const REJECTED_FOR: Duration = Duration::from_secs(15);

/// Writes one page. SQLite skips an `UPDATE` to the same value.
const WRITE_SQLITE: &str = "PRAGMA user_version = 0";

/// Does what changes do: writes a row, and notifies, on a channel without listeners. Does not wait for synchronous
/// standbys: while they are away, the connection would stay occupied.
const WRITE_POSTGRES: &str = "SET LOCAL synchronous_commit = local; UPDATE schema_version SET version = version; \
                              SELECT pg_notify('mintkey_write_probe', '')";

/// Finds a commit of this user that waits for a synchronous standby longer than requests do.
const WAITS_FOR_STANDBY: &str = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                                 AND usename = current_user AND state_change < now() - interval '1500 ms') AS waits";

/// The last change for which the disk had no space. For a smaller one it may have.
#[derive(Default)]
pub struct RecentRejection(Mutex<Option<(Instant, StoreError)>>);

impl RecentRejection {
    pub fn note(&self, error: &StoreError) {
        if let StoreError::Rejected(Rejection::DiskFull, _) = error {
            *self.0.lock().expect("no thread panics with it") = Some((Instant::now(), error.clone()));
        }
    }

    fn recent(&self) -> Option<StoreError> {
        let last = self.0.lock().expect("no thread panics with it");
        last.as_ref().filter(|(at, _)| at.elapsed() < REJECTED_FOR).map(|(_, error)| error.clone())
    }
}

impl Store {
    /// Writes, and returns why changes fail, if they do.
    pub async fn probe_write(&self) -> Result<(), StoreError> {
        let failure = self.write(async |transaction| match self.engine {
            Engine::Sqlite(_) => transaction.execute_unprepared(WRITE_SQLITE).await.map(|_| None),
            Engine::Postgres(_) => write_to_postgres(transaction).await,
        });
        let failure = failure.await?.or_else(|| self.rejections.recent());
        failure.map_or(Ok(()), Err)
    }
}

/// Writes, and returns what would keep larger changes from being written.
async fn write_to_postgres(transaction: &DatabaseTransaction) -> Result<Option<StoreError>, DbErr> {
    transaction.execute_unprepared(WRITE_POSTGRES).await?;
    if let Some(missing) = Privileges::query(transaction).await?.missing() {
        return Ok(Some(StoreError::Rejected(Rejection::MissingPrivilege, missing)));
    }
    let query = Statement::from_string(DbBackend::Postgres, WAITS_FOR_STANDBY);
    let waits = transaction.query_one_raw(query).await?.is_some_and(|row| row.try_get("", "waits") == Ok(true));
    let reason = "a commit waits for a synchronous standby that is away";
    Ok(waits.then(|| StoreError::Unavailable(reason.into())))
}
