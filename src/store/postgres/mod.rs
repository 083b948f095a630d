//! PostgreSQL: how the database server is connected to, and what its errors mean.

mod inspect;
mod pool_health;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::{self, ConnectOptions, Connection, Executor, PgConnection};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};
use tokio::time::error::Elapsed;

pub use inspect::Server;
pub use pool_health::Doubt;

use super::{PATIENCE, StoreError};

const OLDEST: u32 = 150_000;

/// A connection that does not answer for so long leads nowhere. The kernel would try for a quarter of an hour.
const SILENCE: Duration = Duration::from_millis(500);

/// What is said to every connection. The code relies on `read committed`: a statement sees what was committed before it
/// began, so that what is read after a lock was waited for is the latest. The rest ends on the server what nobody waits
/// for any more, or what a lost connection left behind.
const SETTINGS: [(&str, &str); 9] = [
    ("default_transaction_isolation", "read committed"),
    // Whatever we ask is a seek. A plan is kept for the life of a connection, and one that was made while a table was small
    // would go on to read all of it when it is large. What has to be read all the same, such as the few peppers, is taken
    // for so costly then that PostgreSQL would compile it.
    ("enable_seqscan", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("statement_timeout", "1500"),
    ("lock_timeout", "1500"),
    ("idle_in_transaction_session_timeout", "5000"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_user_timeout", "10000"),
];

/// One process at a time, for as long as it takes. The number is nobody else's, and means nothing.
pub const ALONE: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
                         SELECT pg_advisory_xact_lock(5711402937601)";

pub async fn open(
    options: PgConnectOptions,
    connections: u32,
    doubt: Arc<Doubt>,
) -> Result<DatabaseConnection, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .before_acquire(|connection, used| {
            Box::pin(async move {
                let rested = used.idle_for > Duration::from_secs(5);
                if rested { answers(connection).await } else { Ok(true) }
            })
        })
        // sqlx asks every connection that comes back whether it answers, and waits for that without end.
        .after_release(move |connection, _| {
            let doubted = doubt.is_there();
            Box::pin(async move { if doubted { is_at_rest(connection).await } else { Ok(true) } })
        })
        .connect_with(options)
        .await
        .map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
    let connection = pool.acquire().await.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
    refuse_old_version(connection.server_version_num())?;
    drop(connection);
    Ok(pool.into())
}

pub fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    // The error may repeat the URL, and the URL a password.
    let options: PgConnectOptions = url.parse().map_err(|_| {
        StoreError::refused("the database URL cannot be read; give postgres://USER:PASSWORD@HOST:PORT/DATABASE")
    })?;
    let named = options.get_application_name().is_some();
    let options = if named { options } else { options.application_name("mintkey") };
    Ok(options.options(SETTINGS).disable_statement_logging())
}

/// Whether the connection answers, and it answers that no transaction is open. One that was given up as it began is begun
/// all the same, and sqlx does not know of it: what came after would be part of it, acknowledged and lost.
async fn is_at_rest(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    answered(connection.execute("ROLLBACK")).await
}

async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    answered(connection.ping()).await
}

/// `true`, when there is an answer in time and it is no error.
async fn answered<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(SILENCE, asked).await {
        Ok(answer) => answer.map(|_| true),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

pub fn no_answer(_: Elapsed) -> StoreError {
    StoreError::Unavailable(format!("PostgreSQL did not answer within {PATIENCE:?}"))
}

fn refuse_old_version(version: Option<u32>) -> Result<(), StoreError> {
    match version {
        Some(version) if version < OLDEST => Err(StoreError::refused(&format!(
            "PostgreSQL {} is too old; 15 is the oldest that mintkey works with",
            version / 10_000
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_read_is_refused_without_being_repeated() {
        let error = options("postgres://user:canary@host:port/database").unwrap_err().to_string();
        assert!(error.contains("postgres://USER") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn a_server_before_15_is_refused() {
        assert!(refuse_old_version(Some(140_012)).is_err());
        assert!(refuse_old_version(Some(150_000)).is_ok());
    }
}
