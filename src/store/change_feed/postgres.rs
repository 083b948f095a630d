//! Listener: one who hears what changes tell, over a connection of its own.
//!
//! A connection that was lost, or that leads nowhere, tells nothing, which sounds like no changes. So the listener
//! notifies itself all the time: notifications come in the order of commits, so one that has come shows that all before
//! it have.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use sea_orm::sqlx::postgres::{PgListener, PgPoolOptions};
use sea_orm::sqlx::{self, AssertSqlSafe, Executor};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr, Statement};
use tokio::time::{timeout, timeout_at};

use super::News;
use crate::domain::secret_hash::SecretHash;
use crate::store::{PATIENCE, StoreError};

const CHANNEL: &str = "mintkey_changes";

/// How often the listener notifies itself, and how long it waits to hear that.
const BEAT: Duration = Duration::from_millis(500);
const SILENCE: Duration = Duration::from_secs(1);

/// How many hashes a notification holds: 43 characters and a space each, within PostgreSQL's 8000 bytes.
const HASHES: usize = 150;

pub struct Listener {
    connection: PgListener,
    /// The channel on which it notifies itself.
    own: String,
    next_beat: Instant,
    /// When the beat that has not been heard yet was sent.
    sent: Option<Instant>,
}

impl Listener {
    pub async fn start(database: &DatabaseConnection) -> Result<Self, StoreError> {
        let options = database.get_postgres_connection_pool().connect_options();
        let listening = async {
            let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE);
            let pool = pool.connect_with(options.as_ref().clone()).await?;
            let mut connection = PgListener::connect_with(&pool).await?;
            // A connection that is made anew behind our back has missed what was told meanwhile.
            connection.eager_reconnect(false);
            let process: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
            let own = format!("mintkey_beat_{process}");
            connection.listen_all([CHANNEL, &own]).await?;
            Ok(Self { connection, own, next_beat: Instant::now(), sent: None })
        };
        timeout(PATIENCE, listening).await.map_err(|_| silent())?.map_err(lost)
    }

    pub async fn next(&mut self) -> Result<News, StoreError> {
        loop {
            let now = Instant::now();
            if self.sent.is_none() && now >= self.next_beat {
                let beat = AssertSqlSafe(format!("NOTIFY {}", self.own));
                timeout(SILENCE, self.connection.execute(beat)).await.map_err(|_| silent())?.map_err(lost)?;
                (self.sent, self.next_beat) = (Some(now), now + BEAT);
            }
            let wake = self.sent.map_or(self.next_beat, |sent| sent + SILENCE);
            let heard = match timeout_at(wake.into(), self.connection.try_recv()).await {
                Ok(Ok(Some(heard))) => heard,
                Ok(Ok(None)) => return Err(StoreError::Unavailable("the listener's connection was lost".into())),
                Ok(Err(error)) => return Err(lost(error)),
                Err(_) if self.sent.is_some() => return Err(silent()),
                Err(_) => continue,
            };
            if heard.channel() == CHANNEL {
                return Ok(read(heard.payload()).map_or(News::Something, News::Changed));
            }
            if let Some(sent) = self.sent.take() {
                return Ok(News::AllUntil(sent));
            }
        }
    }
}

fn silent() -> StoreError {
    StoreError::Unavailable("the listener hears nothing from PostgreSQL".into())
}

fn lost(error: sqlx::Error) -> StoreError {
    StoreError::from(DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

pub async fn notify(transaction: &DatabaseTransaction, hashes: &[SecretHash]) -> Result<(), DbErr> {
    for hashes in hashes.chunks(HASHES) {
        let sql = "SELECT pg_notify($1, $2)";
        let values = [CHANNEL.into(), write(hashes).into()];
        transaction.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, values)).await?;
    }
    Ok(())
}

fn write(hashes: &[SecretHash]) -> String {
    hashes.iter().map(|hash| BASE64.encode(hash.0)).collect::<Vec<_>>().join(" ")
}

/// Nothing, when this was not written by [`write`]: an operator may say `NOTIFY mintkey_changes` after changing the
/// database by hand.
fn read(payload: &str) -> Option<Vec<SecretHash>> {
    let hash = |text| BASE64.decode(text).ok()?.try_into().ok().map(SecretHash);
    payload.split(' ').map(hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_holds_its_hashes_within_the_limit_of_postgresql() {
        let hashes: Vec<_> = (0..HASHES).map(|n| SecretHash([n as u8; 32])).collect();
        let payload = write(&hashes);
        assert!(payload.len() < 8000, "{}", payload.len());
        assert_eq!(
            read(&payload).unwrap().iter().map(|hash| hash.0).collect::<Vec<_>>(),
            hashes.iter().map(|hash| hash.0).collect::<Vec<_>>()
        );
        assert!(read("").is_none() && read("all").is_none());
    }
}
