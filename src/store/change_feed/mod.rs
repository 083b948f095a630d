//! Change feed: tells each process which keys other processes changed, so that it can drop them from its cache.
//!
//! On PostgreSQL, a change publishes its keys in its own transaction (`NOTIFY`): they are delivered if and only if it
//! commits, in commit order. On SQLite, a process polls for the fact that another process changed something.

mod postgres;
mod sqlite;

use std::time::Instant;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};

use crate::domain::api_key::KeyRecord;
use crate::domain::secret_hash::SecretHash;
use crate::store::{Engine, Store, StoreError};

#[derive(Debug)]
pub enum ChangeEvent {
    /// The keys with these secrets changed.
    Keys(Vec<SecretHash>),
    /// Any key may have changed.
    Unknown,
    /// All changes that were committed before this instant have been delivered.
    CaughtUpTo(Instant),
}

/// Receives the changes that are committed after it was created.
pub enum ChangeFeed {
    Sqlite(sqlite::Poller),
    Postgres(postgres::Listener),
}

impl Store {
    pub async fn change_feed(&self) -> Result<ChangeFeed, StoreError> {
        match &self.engine {
            Engine::Sqlite(_) => Ok(ChangeFeed::Sqlite(sqlite::Poller::start(self).await?)),
            Engine::Postgres(connections) => {
                Ok(ChangeFeed::Postgres(postgres::Listener::start(self, connections.options()).await?))
            }
        }
    }
}

impl ChangeFeed {
    /// Waits for the next event. After an error, create a new feed.
    pub async fn next(&mut self) -> Result<ChangeEvent, StoreError> {
        match self {
            Self::Sqlite(poller) => poller.next().await,
            Self::Postgres(listener) => listener.next().await,
        }
    }
}

/// Publishes a change of these keys when the transaction commits. New keys need not be published: no process can have
/// cached a secret that did not exist.
pub async fn publish<'a>(
    transaction: &DatabaseTransaction,
    changed: impl IntoIterator<Item = &'a KeyRecord>,
) -> Result<(), DbErr> {
    if transaction.get_database_backend() == DbBackend::Sqlite {
        return Ok(());
    }
    let hashes: Vec<_> = changed.into_iter().flat_map(|key| key.secrets.iter().map(|secret| secret.hash)).collect();
    postgres::notify(transaction, &hashes).await
}
