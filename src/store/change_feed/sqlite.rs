//! Poller: notices that another process changed a SQLite database.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tokio::time::sleep;

use crate::store::change_feed::ChangeEvent;
use crate::store::workload::Workload;
use crate::store::{Store, StoreError};

const POLL_INTERVAL: Duration = Duration::from_millis(250);

pub struct Poller {
    store: Store,
    last_version: i64,
    /// The instant to report after [`ChangeEvent::Unknown`].
    caught_up_to: Option<Instant>,
}

impl Poller {
    pub async fn start(store: &Store) -> Result<Self, StoreError> {
        let last_version = external_data_version(store).await?;
        Ok(Self { store: store.clone(), last_version, caught_up_to: None })
    }

    pub async fn next(&mut self) -> Result<ChangeEvent, StoreError> {
        if let Some(instant) = self.caught_up_to.take() {
            return Ok(ChangeEvent::CaughtUpTo(instant));
        }
        sleep(POLL_INTERVAL).await;
        let now = Instant::now();
        let version = external_data_version(&self.store).await?;
        if std::mem::replace(&mut self.last_version, version) == version {
            return Ok(ChangeEvent::CaughtUpTo(now));
        }
        self.caught_up_to = Some(now);
        Ok(ChangeEvent::Unknown)
    }
}

/// Returns a number that changes with each commit of another process. `data_version` ignores commits of the connection
/// that reads it, so the writer reads it: it makes all commits of this process.
async fn external_data_version(store: &Store) -> Result<i64, StoreError> {
    store.on_connection(Workload::Change, data_version).await
}

async fn data_version(connection: &DatabaseConnection) -> Result<i64, StoreError> {
    let pragma = Statement::from_string(DbBackend::Sqlite, "PRAGMA data_version");
    let row = connection.query_one_raw(pragma).await?;
    let row = row.ok_or_else(|| StoreError::Unavailable("SQLite did not return its data version".into()))?;
    Ok(row.try_get("", "data_version")?)
}
