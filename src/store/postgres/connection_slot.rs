//! ConnectionSlot: a place for one connection to PostgreSQL.
//!
//! It is a pool of one connection. sqlx opens a connection of a larger pool while others are about to be returned, and
//! insists on it while the server refuses more. It also closes a connection whose work was abandoned and opens another,
//! although the server may still work for the first one. A slot has its place until the server has responded or the
//! connection is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::{self, ConnectOptions, Connection, Executor, PgConnection, PgPool, Row};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::store::STATEMENT_TIMEOUT;
use crate::store::postgres::pool_health::{BeforeUse, PoolHealth};
use crate::store::postgres::{PING_TIMEOUT, STANDBY};

pub struct ConnectionSlot {
    pub database: DatabaseConnection,
    pub pool: PgPool,
    session: Arc<Session>,
}

/// The session of the slot's connection.
#[derive(Default)]
struct Session {
    /// Its process at the server.
    process_id: AtomicI32,
    /// Its last work was abandoned, so a response may be in transit and a transaction may be open.
    is_abandoned: AtomicBool,
    /// Ends the wait for that response.
    end: Notify,
}

impl ConnectionSlot {
    pub fn new(options: PgConnectOptions, health: &Arc<PoolHealth>) -> Self {
        let session = Arc::<Session>::default();
        let (of_server, opened) = (Arc::clone(health), Arc::clone(&session));
        let (of_pool, released) = (Arc::clone(health), Arc::clone(&session));
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(STATEMENT_TIMEOUT)
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let (health, session) = (Arc::clone(&of_server), Arc::clone(&opened));
                Box::pin(async move { check_server(connection, &health, &session).await })
            })
            .before_acquire(move |connection, of| {
                let before_use = of_pool.before_use(&of);
                Box::pin(async move {
                    match before_use {
                        BeforeUse::Nothing => Ok(true),
                        BeforeUse::Ping => ping(connection).await,
                        BeforeUse::Close => Ok(false),
                    }
                })
            })
            // sqlx pings each returned connection, too, but with no time limit.
            .after_release(move |connection, _| {
                let session = Arc::clone(&released);
                Box::pin(async move {
                    let is_abandoned = session.is_abandoned.load(Ordering::Acquire);
                    if is_abandoned { session.reset(connection).await } else { Ok(true) }
                })
            })
            .connect_lazy_with(options);
        Self { database: pool.clone().into(), pool, session }
    }

    /// Opens the connection. `once` reports a server that refuses it at once; otherwise it is repeated for a while.
    pub async fn open(&self, once: bool) -> Result<(), sqlx::Error> {
        if once {
            self.try_connect().await?;
        }
        match self.pool.acquire().await {
            Ok(_) => Ok(()),
            // The pool hides the cause.
            Err(sqlx::Error::PoolTimedOut) => self.try_connect().await.and(Err(sqlx::Error::PoolTimedOut)),
            Err(error) => Err(error),
        }
    }

    async fn try_connect(&self) -> Result<(), sqlx::Error> {
        let options = self.pool.connect_options();
        let connected = timeout(STATEMENT_TIMEOUT, options.connect()).await;
        connected.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))??.close().await
    }

    /// True if there is a connection, also while it is opened.
    pub fn is_open(&self) -> bool {
        self.pool.size() > 0
    }

    pub fn is_idle(&self) -> bool {
        self.pool.num_idle() > 0
    }

    pub fn process_id(&self) -> i32 {
        self.session.process_id.load(Ordering::Acquire)
    }

    /// Marks work as abandoned when the guard is dropped, unless [`AbandonGuard::disarm`] was called.
    pub fn guard(&self) -> AbandonGuard<'_> {
        AbandonGuard(&self.session)
    }

    pub fn is_abandoned(&self) -> bool {
        self.session.is_abandoned.load(Ordering::Acquire)
    }

    /// Records that abandoned work has ended.
    pub fn recover(&self) {
        self.session.is_abandoned.store(false, Ordering::Release);
    }

    /// Closes the connection whose abandoned work gets no response.
    pub fn end(&self) {
        self.session.end.notify_one();
    }
}

impl Session {
    /// Waits for the response to the abandoned work and ends any open transaction. One that was abandoned during `BEGIN`
    /// is open on the server but unknown to sqlx: later transactions would be part of it, acknowledged, then lost.
    async fn reset(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        tokio::select! {
            reset = connection.execute("ROLLBACK") => reset.map(|_| true),
            () = self.end.notified() => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
        }
    }
}

/// Marks the work of a slot as abandoned when it is dropped.
pub struct AbandonGuard<'a>(&'a Session);

impl AbandonGuard<'_> {
    pub fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for AbandonGuard<'_> {
    fn drop(&mut self) {
        self.0.is_abandoned.store(true, Ordering::Release);
    }
}

/// Asks a new connection what its server can do. A standby may be older than what was acknowledged, so it is not used:
/// a revoked key would be valid there. Pgpool-II sends a statement with `pg_is_in_recovery()` to the primary, because
/// that function is volatile, and reads of tables to a standby. A setting is read where the tables are.
async fn check_server(
    connection: &mut PgConnection,
    health: &PoolHealth,
    session: &Session,
) -> Result<(), sqlx::Error> {
    let state = "SELECT current_setting('in_hot_standby') = 'on', current_setting('transaction_read_only') = 'on', \
                 pg_backend_pid()";
    let state = sqlx::raw_sql(state).fetch_one(connection).await?;
    let is_standby = state.try_get(0)?;
    health.connected(is_standby, state.try_get(1)?);
    session.process_id.store(state.try_get(2)?, Ordering::Release);
    if is_standby { Err(sqlx::Error::Configuration(STANDBY.into())) } else { Ok(()) }
}

/// Returns `true` if the connection responds in time.
async fn ping(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match timeout(PING_TIMEOUT, connection.ping()).await {
        Ok(result) => result.map(|()| true),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
