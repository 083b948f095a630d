//! Write probe: whether the database takes changes.
//!
//! A small write alone does not tell: on a full disk it may still fit where a larger one does not. So a change that was
//! rejected counts for a while, too.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbBackend, Statement};

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

/// The last change that the database rejected for a reason that the probe may miss: for a smaller write the disk may have
/// space, and it does not need every privilege.
#[derive(Default)]
pub struct RecentRejection(Mutex<Option<(Instant, StoreError)>>);

impl RecentRejection {
    pub fn note(&self, error: &StoreError) {
        if let StoreError::Rejected(Rejection::DiskFull | Rejection::MissingPrivilege, _) = error {
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
        let waits = self.write(async |transaction| match self.engine {
            Engine::Sqlite(_) => transaction.execute_unprepared(WRITE_SQLITE).await.map(|_| false),
            Engine::Postgres(_) => {
                transaction.execute_unprepared(WRITE_POSTGRES).await?;
                let query = Statement::from_string(DbBackend::Postgres, WAITS_FOR_STANDBY);
                let row = transaction.query_one_raw(query).await?;
                row.map_or(Ok(false), |row| row.try_get("", "waits"))
            }
        });
        if waits.await? {
            return Err(StoreError::Unavailable("a commit waits for a synchronous standby that is away".into()));
        }
        self.rejections.recent().map_or(Ok(()), Err)
    }
}
