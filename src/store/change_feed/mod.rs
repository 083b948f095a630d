//! Changes: what was changed, told to every process that holds keys in memory.
//!
//! On PostgreSQL a change tells of itself in its own transaction (NOTIFY), so that it is told if and only if it is
//! committed, and in the order of commits. On SQLite a process is told that another has changed something.

mod postgres;
mod sqlite;

use std::time::Instant;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr};

use super::{Engine, Store, StoreError};
use crate::domain::api_key::KeyRecord;
use crate::domain::secret_hash::SecretHash;

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
    Sqlite(sqlite::Poller),
    Postgres(postgres::Listener),
}

impl Store {
    pub async fn changes(&self) -> Result<Changes, StoreError> {
        match &self.engine {
            Engine::Sqlite(_) => Ok(Changes::Sqlite(sqlite::Poller::start(self).await?)),
            Engine::Postgres(_) => Ok(Changes::Postgres(postgres::Listener::start(&self.reader).await?)),
        }
    }
}

impl Changes {
    /// Waits for news. After an error there are none any more: listen anew.
    pub async fn next(&mut self) -> Result<News, StoreError> {
        match self {
            Self::Sqlite(poller) => poller.next().await,
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
