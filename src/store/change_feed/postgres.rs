//! Listener: receives change notifications over a connection of its own.
//!
//! A broken connection delivers nothing, which looks like no changes. So the listener sends itself heartbeats:
//! notifications arrive in commit order, so a heartbeat that arrives proves that all earlier ones did.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use sea_orm::sqlx::postgres::{PgListener, PgPoolOptions};
use sea_orm::sqlx::{self, AssertSqlSafe, Executor};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr, Statement};
use tokio::time::{timeout, timeout_at};

use crate::domain::secret_hash::SecretHash;
use crate::store::change_feed::ChangeEvent;
use crate::store::{STATEMENT_TIMEOUT, StoreError};

const CHANNEL: &str = "mintkey_changes";

const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// The time within which a heartbeat must arrive.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(1);

/// The hashes in one notification: 44 bytes each, within PostgreSQL's limit of 8000 bytes.
const MAX_HASHES: usize = 150;

pub struct Listener {
    connection: PgListener,
    heartbeat_channel: String,
    next_heartbeat: Instant,
    /// When the heartbeat in transit was sent.
    sent: Option<Instant>,
}

impl Listener {
    pub async fn start(database: &DatabaseConnection) -> Result<Self, StoreError> {
        let options = database.get_postgres_connection_pool().connect_options();
        let started = async {
            let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(STATEMENT_TIMEOUT);
            let pool = pool.connect_with(options.as_ref().clone()).await?;
            let mut connection = PgListener::connect_with(&pool).await?;
            // An automatic reconnect would hide that notifications were missed.
            connection.eager_reconnect(false);
            let process: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
            let heartbeat_channel = format!("mintkey_heartbeat_{process}");
            connection.listen_all([CHANNEL, &heartbeat_channel]).await?;
            Ok(Self { connection, heartbeat_channel, next_heartbeat: Instant::now(), sent: None })
        };
        timeout(STATEMENT_TIMEOUT, started).await.map_err(|_| heartbeat_missed())?.map_err(connection_lost)
    }

    pub async fn next(&mut self) -> Result<ChangeEvent, StoreError> {
        loop {
            let now = Instant::now();
            if self.sent.is_none() && now >= self.next_heartbeat {
                self.send_heartbeat().await?;
                (self.sent, self.next_heartbeat) = (Some(now), now + HEARTBEAT_INTERVAL);
            }
            let deadline = self.sent.map_or(self.next_heartbeat, |sent| sent + HEARTBEAT_TIMEOUT);
            let notification = match timeout_at(deadline.into(), self.connection.try_recv()).await {
                Ok(Ok(Some(notification))) => notification,
                Ok(Ok(None)) => return Err(StoreError::Unavailable("the change feed's connection was lost".into())),
                Ok(Err(error)) => return Err(connection_lost(error)),
                Err(_) if self.sent.is_some() => return Err(heartbeat_missed()),
                Err(_) => continue,
            };
            if notification.channel() == CHANNEL {
                return Ok(decode(notification.payload()).map_or(ChangeEvent::Unknown, ChangeEvent::Keys));
            }
            if let Some(sent) = self.sent.take() {
                return Ok(ChangeEvent::CaughtUpTo(sent));
            }
        }
    }

    async fn send_heartbeat(&mut self) -> Result<(), StoreError> {
        let heartbeat = AssertSqlSafe(format!("NOTIFY {}", self.heartbeat_channel));
        let sent = timeout(HEARTBEAT_TIMEOUT, self.connection.execute(heartbeat)).await;
        sent.map_err(|_| heartbeat_missed())?.map_err(connection_lost).map(drop)
    }
}

fn heartbeat_missed() -> StoreError {
    StoreError::Unavailable("the change feed's connection to PostgreSQL does not respond".into())
}

fn connection_lost(error: sqlx::Error) -> StoreError {
    StoreError::from(DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

pub async fn notify(transaction: &DatabaseTransaction, hashes: &[SecretHash]) -> Result<(), DbErr> {
    for hashes in hashes.chunks(MAX_HASHES) {
        let sql = "SELECT pg_notify($1, $2)";
        let values = [CHANNEL.into(), encode(hashes).into()];
        transaction.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, values)).await?;
    }
    Ok(())
}

fn encode(hashes: &[SecretHash]) -> String {
    hashes.iter().map(|hash| BASE64.encode(hash.0)).collect::<Vec<_>>().join(" ")
}

/// Returns the hashes of [`encode`]. `None` for any other payload: an operator who changes the database directly sends
/// a plain `NOTIFY mintkey_changes`.
fn decode(payload: &str) -> Option<Vec<SecretHash>> {
    let hash = |text| BASE64.decode(text).ok()?.try_into().ok().map(SecretHash);
    payload.split(' ').map(hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notification_fits_the_limit_of_postgresql_and_decodes_to_its_hashes() {
        let hashes: Vec<_> = (0..MAX_HASHES).map(|n| SecretHash([n as u8; 32])).collect();
        let payload = encode(&hashes);
        assert!(payload.len() < 8000, "{}", payload.len());
        assert_eq!(
            decode(&payload).unwrap().iter().map(|hash| hash.0).collect::<Vec<_>>(),
            hashes.iter().map(|hash| hash.0).collect::<Vec<_>>()
        );
        assert!(decode("").is_none() && decode("all").is_none());
    }
}
