//! Poller: notices that another process has changed a SQLite database.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tokio::time::sleep;

use super::News;
use crate::store::{Store, StoreError};

/// How often SQLite is asked whether another process has changed it.
const LOOK: Duration = Duration::from_millis(250);

pub struct Poller {
    watched: Store,
    seen: i64,
    all_until: Option<Instant>,
}

impl Poller {
    pub async fn start(store: &Store) -> Result<Self, StoreError> {
        let seen = version_of_others(store).await?;
        Ok(Self { watched: store.clone(), seen, all_until: None })
    }

    pub async fn next(&mut self) -> Result<News, StoreError> {
        if let Some(moment) = self.all_until.take() {
            return Ok(News::AllUntil(moment));
        }
        sleep(LOOK).await;
        let now = Instant::now();
        let version = version_of_others(&self.watched).await?;
        if std::mem::replace(&mut self.seen, version) == version {
            return Ok(News::AllUntil(now));
        }
        self.all_until = Some(now);
        Ok(News::Something)
    }
}

/// A number that is another whenever another process has changed the database. It is the writer's own: a connection
/// is told of every change but its own, and all of ours are its own.
async fn version_of_others(store: &Store) -> Result<i64, StoreError> {
    store.in_time(data_version(&store.writer)).await
}

async fn data_version(connection: &DatabaseConnection) -> Result<i64, StoreError> {
    let pragma = Statement::from_string(DbBackend::Sqlite, "PRAGMA data_version");
    let row = connection.query_one_raw(pragma).await?;
    let row = row.ok_or_else(|| StoreError::Unavailable("SQLite did not say its data version".into()))?;
    Ok(row.try_get("", "data_version")?)
}
