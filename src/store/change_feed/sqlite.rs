//! Poller: notices that another process changed a SQLite database.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use tokio::time::sleep;

use crate::store::change_feed::ChangeEvent;
use crate::store::workload::Workload;
use crate::store::{Engine, Store, StoreError};

const POLL_INTERVAL: Duration = Duration::from_millis(250);

pub struct Poller {
    store: Store,
    last_version: DataVersion,
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
        let is_same = version == self.last_version;
        self.last_version = version;
        if is_same {
            return Ok(ChangeEvent::CaughtUpTo(now));
        }
        self.caught_up_to = Some(now);
        Ok(ChangeEvent::Unknown)
    }
}

/// Changes with each commit of another process. SQLite's number says nothing across connections, so those are counted, too.
#[derive(PartialEq, Eq)]
struct DataVersion {
    number: i64,
    connections_opened: u64,
}

/// `data_version` ignores commits of the connection that reads it, so the writer reads it: it makes all commits of this
/// process.
async fn external_data_version(store: &Store) -> Result<DataVersion, StoreError> {
    let pragma = Statement::from_string(DbBackend::Sqlite, "PRAGMA data_version");
    let number = store.run(Workload::Change, async |writer| {
        let row = writer.query_one_raw(pragma).await?;
        row.ok_or_else(|| DbErr::RecordNotFound("the data version".into()))?.try_get("", "data_version")
    });
    let number = number.await?;
    let connections_opened = match &store.engine {
        Engine::Sqlite(pools) => pools.writing.connections_opened(),
        Engine::Postgres(_) => 0,
    };
    Ok(DataVersion { number, connections_opened })
}
