//! Changes: what was changed, told to every process that holds keys in memory.
//!
//! On PostgreSQL a change tells of itself in its own transaction (NOTIFY), so that it is told if and only if it is
//! committed, and in the order of commits. On SQLite a process is told that another has changed something.

mod postgres;

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};
use tokio::time::sleep;

use super::{Engine, Store, StoreError, sqlite};
use crate::domain::key::KeyRecord;
use crate::domain::secret::SecretHash;

#[derive(Debug)]
pub enum News {
    /// What these stand for has changed.
    Changed(Vec<SecretHash>),
    /// Something has changed, and it is not said what.
    Something,
    /// Every change that was committed before this moment has been told.
    AllUntil(Instant),
}

/// One who is told of changes from the moment at which this was made.
pub enum Changes {
    Sqlite { watched: Store, seen: i64, all_until: Option<Instant> },
    Postgres(postgres::Listener),
}

/// How often SQLite is asked whether another process has changed it.
const LOOK: Duration = Duration::from_millis(250);

impl Store {
    pub async fn changes(&self) -> Result<Changes, StoreError> {
        match &self.engine {
            Engine::Sqlite(_) => {
                let seen = self.version_of_others().await?;
                Ok(Changes::Sqlite { watched: self.clone(), seen, all_until: None })
            }
            Engine::Postgres(_) => Ok(Changes::Postgres(postgres::Listener::start(&self.reader).await?)),
        }
    }

    /// A number that is another whenever another process has changed the database. It is the writer's own: a connection
    /// is told of every change but its own, and all of ours are its own.
    async fn version_of_others(&self) -> Result<i64, StoreError> {
        self.in_time(sqlite::data_version(&self.writer)).await
    }
}

impl Changes {
    /// Waits for news. After an error there are none any more: listen anew.
    pub async fn next(&mut self) -> Result<News, StoreError> {
        match self {
            Self::Sqlite { watched, seen, all_until } => {
                if let Some(moment) = all_until.take() {
                    return Ok(News::AllUntil(moment));
                }
                sleep(LOOK).await;
                let now = Instant::now();
                let version = watched.version_of_others().await?;
                if std::mem::replace(seen, version) == version {
                    return Ok(News::AllUntil(now));
                }
                *all_until = Some(now);
                Ok(News::Something)
            }
            Self::Postgres(listener) => listener.next().await,
        }
    }
}

/// Tells of a change of these keys, once it is committed. A new key needs no telling: nobody can have asked about its
/// secret before, which is known to nobody until then.
pub async fn tell<'a>(
    transaction: &DatabaseTransaction,
    changed: impl IntoIterator<Item = &'a KeyRecord>,
) -> Result<(), DbErr> {
    if transaction.get_database_backend() == DbBackend::Sqlite {
        return Ok(());
    }
    let hashes: Vec<_> = changed.into_iter().flat_map(|key| key.secrets.iter().map(|secret| secret.hash)).collect();
    postgres::notify(transaction, &hashes).await
}
