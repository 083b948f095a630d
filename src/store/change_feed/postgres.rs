//! Listener: receives change notifications over a connection of its own.
//!
//! A connection that delivers nothing looks like no changes. So a heartbeat travels as a change does: it is sent over
//! another connection, one of the pool. Notifications arrive in commit order, so a heartbeat that arrives proves that all
//! earlier ones did. One that is sent over the listening connection proves nothing: behind a pooler in transaction mode a
//! session receives its own notifications and no others.

use std::future::pending;
use std::pin::Pin;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use sea_orm::sqlx;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, RuntimeErr, Statement};
use tokio::time::{sleep_until, timeout};

use crate::domain::clock::Clock;
use crate::domain::id::new_id;
use crate::domain::secret_hash::SecretHash;
use crate::store::change_feed::ChangeEvent;
use crate::store::workload::Workload;
use crate::store::{STATEMENT_TIMEOUT, Store, StoreError};

const CHANNEL: &str = "mintkey_changes";

const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(500);
/// The time within which a heartbeat must be sent and arrive.
const HEARTBEAT_TIMEOUT: Duration = STATEMENT_TIMEOUT;

/// The hashes in one notification: 44 bytes each, within PostgreSQL's limit of 8000 bytes.
const MAX_HASHES: usize = 150;

const NOTIFY: &str = "SELECT pg_notify($1, $2)";
/// The commit of a heartbeat waits for no disk and no standby: nothing is lost with it.
const SEND_HEARTBEAT: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, '')";

type Sending = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

pub struct Listener {
    store: Store,
    connection: PgListener,
    /// Unlike a process id, unique behind a pooler, too.
    heartbeat_channel: String,
    next_heartbeat: Instant,
    /// When the heartbeat in transit was sent.
    sent: Option<Instant>,
    /// The statement that sends it, until PostgreSQL has confirmed it.
    sending: Option<Sending>,
}

impl Listener {
    pub async fn start(store: &Store, options: PgConnectOptions) -> Result<Self, StoreError> {
        let started = async {
            let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(STATEMENT_TIMEOUT);
            let pool = pool.connect_with(options).await?;
            let mut connection = PgListener::connect_with(&pool).await?;
            // An automatic reconnect would hide that notifications were missed.
            connection.eager_reconnect(false);
            let heartbeat_channel = format!("mintkey_heartbeat_{}", new_id(Clock::System.now()).simple());
            connection.listen_all([CHANNEL, &heartbeat_channel]).await?;
            let (next_heartbeat, store) = (Instant::now(), store.clone());
            Ok(Self { store, connection, heartbeat_channel, next_heartbeat, sent: None, sending: None })
        };
        timeout(STATEMENT_TIMEOUT, started).await.map_err(|_| not_responding())?.map_err(connection_lost)
    }

    pub async fn next(&mut self) -> Result<ChangeEvent, StoreError> {
        self.receive().await.inspect_err(|_| self.store.change_feed_failed())
    }

    async fn receive(&mut self) -> Result<ChangeEvent, StoreError> {
        loop {
            let now = Instant::now();
            if self.sent.is_none() && self.sending.is_none() && now >= self.next_heartbeat {
                (self.sent, self.next_heartbeat) = (Some(now), now + HEARTBEAT_INTERVAL);
                self.sending = Some(self.heartbeat());
            }
            let deadline = match (self.sent, &self.sending) {
                (Some(sent), _) => sent + HEARTBEAT_TIMEOUT,
                (None, Some(_)) => now + HEARTBEAT_TIMEOUT,
                (None, None) => self.next_heartbeat,
            };
            tokio::select! {
                received = self.connection.try_recv() => {
                    let lost = || StoreError::Unavailable("the change feed's connection was lost".into());
                    let notification = received.map_err(connection_lost)?.ok_or_else(lost)?;
                    if notification.channel() == CHANNEL {
                        return Ok(decode(notification.payload()).map_or(ChangeEvent::Unknown, ChangeEvent::Keys));
                    }
                    if let Some(sent) = self.sent.take() {
                        return Ok(ChangeEvent::CaughtUpTo(sent));
                    }
                }
                confirmed = confirmation(&mut self.sending) => {
                    self.sending = None;
                    confirmed?;
                }
                () = sleep_until(deadline.into()) => match (self.sent, &self.sending) {
                    (Some(_), None) => return Err(not_delivered()),
                    (Some(_), Some(_)) => return Err(not_responding()),
                    (None, _) => {}
                }
            }
        }
    }

    /// Returns the statement that sends a heartbeat over a connection of the pool.
    fn heartbeat(&self) -> Sending {
        let store = self.store.clone();
        let channel = [self.heartbeat_channel.clone().into()];
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, SEND_HEARTBEAT, channel);
        Box::pin(async move {
            let send = async |statement| {
                store.run(Workload::Probe, async |database| database.query_one_raw(statement).await.map(drop)).await
            };
            match send(statement.clone()).await {
                // A connection of the pool, which says nothing of the one that listens.
                Err(StoreError::ConnectionLost(_)) => send(statement).await,
                sent => sent,
            }
        })
    }
}

async fn confirmation(sending: &mut Option<Sending>) -> Result<(), StoreError> {
    match sending {
        Some(sending) => sending.await,
        None => pending().await,
    }
}

fn not_responding() -> StoreError {
    StoreError::Unavailable("the change feed's connection to PostgreSQL does not respond".into())
}

fn not_delivered() -> StoreError {
    StoreError::Unavailable(
        "the change feed does not respond: PostgreSQL accepts notifications but delivers none; connect to it directly, \
         or through a pooler in session mode"
            .into(),
    )
}

fn connection_lost(error: sqlx::Error) -> StoreError {
    StoreError::from(DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

pub async fn notify(transaction: &DatabaseTransaction, hashes: &[SecretHash]) -> Result<(), DbErr> {
    for hashes in hashes.chunks(MAX_HASHES) {
        let values = [CHANNEL.into(), encode(hashes).into()];
        transaction.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, NOTIFY, values)).await?;
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
