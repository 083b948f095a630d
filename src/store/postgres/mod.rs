//! PostgreSQL: how the database server is connected to.

mod connection_slot;
mod connections;
mod inspect;
mod pool_health;
mod privileges;
mod url;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{self, Connection, Executor, PgConnection, Row};
use sea_orm::{DbErr, RuntimeErr};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tracing::warn;

pub use crate::store::postgres::connections::Connections;
pub use crate::store::postgres::inspect::{Encryption, PostgresFacts};
pub use crate::store::postgres::privileges::Privileges;
pub use crate::store::postgres::url::postgres_options;

use crate::store::{STATEMENT_TIMEOUT, StoreError};

/// The lowest supported version, as `server_version_num` has it.
const MIN_VERSION: u32 = 150_000;

/// The time limit for the check of a pooled connection. On a broken one, the kernel would retry for 15 minutes.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// The encoding of the database, and the name of a setting that lets a crash lose what was acknowledged, if one is off.
const SERVER_SETTINGS: &str = "
    SELECT current_setting('server_encoding'),
        CASE 'off' WHEN current_setting('fsync') THEN 'fsync'
            WHEN current_setting('synchronous_commit') THEN 'synchronous_commit' END";

pub const STANDBY: &str = "this PostgreSQL is a standby in recovery; give the primary";

const TRANSACTION_POOLER: &str = "a pooler gives each transaction another session, as PgBouncer does with pool_mode = transaction: notifications are \
     lost, and prepared statements collide; connect to PostgreSQL directly, or set pool_mode = session";

/// The settings of each connection. The store relies on `read committed`: a statement that follows a wait for a lock
/// sees what the holder of the lock committed. The timeouts end statements on the server that no client waits for.
const SETTINGS: [(&str, &str); 10] = [
    ("default_transaction_isolation", "read committed"),
    // All queries use indexes. A cached plan lives as long as its connection, so a plan that was made while a table was
    // small would later scan a large table. With sequential scans disabled, the few queries that need one (of peppers,
    // for example) have such high cost estimates that PostgreSQL would compile them, so JIT is off.
    ("enable_seqscan", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
    ("statement_timeout", "1500"),
    ("lock_timeout", "1500"),
    ("idle_in_transaction_session_timeout", "5000"),
    // Pooled connections are idle, and so is the one that listens.
    ("idle_session_timeout", "0"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_user_timeout", "10000"),
];

/// Takes a lock that one process at a time can hold, without a time limit, until the transaction ends. The number is
/// arbitrary.
pub const ADVISORY_LOCK_SQL: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
                                     SELECT pg_advisory_xact_lock(5711402937601)";

pub async fn open_postgres(options: &PgConnectOptions, connections: u32) -> Result<Arc<Connections>, StoreError> {
    let connections = Connections::new(options, connections as usize);
    let failed = |error: sqlx::Error| match connections.health.is_standby() {
        true => StoreError::incompatible(STANDBY),
        false => DbErr::Conn(RuntimeErr::SqlxError(error.into())).into(),
    };
    let slot = connections.first();
    slot.open(false).await.map_err(|error| match connections.health.is_standby() {
        true => StoreError::incompatible(STANDBY),
        false => StoreError::Unavailable(inspect::connect_remedy(&error, options)),
    })?;
    let mut connection = slot.pool.acquire().await.map_err(failed)?;
    let other = connections.options();
    let kept = timeout(STATEMENT_TIMEOUT, keeps_session(&mut connection, &other)).await.map_err(timed_out)?;
    if !kept.map_err(failed)? {
        return Err(StoreError::incompatible(TRANSACTION_POOLER));
    }
    reject_old_version(connection.server_version_num())?;
    let settings = sqlx::raw_sql(SERVER_SETTINGS).fetch_one(&mut *connection).await.map_err(failed)?;
    reject_encoding(settings.try_get(0).map_err(failed)?)?;
    if let Some(setting) = settings.try_get::<Option<String>, _>(1).map_err(failed)? {
        warn!(setting, "PostgreSQL may lose acknowledged changes in a crash; set it to on");
    }
    drop(connection);
    Ok(connections)
}

/// Returns whether a connection keeps its session while another one works. Behind a pooler in transaction mode it does not:
/// the names of prepared statements collide, so a statement of another client may be executed, and notifications are
/// lost.
async fn keeps_session(connection: &mut PgConnection, options: &PgConnectOptions) -> Result<bool, sqlx::Error> {
    let mut other = PgConnection::connect_with(options).await?;
    let before = session(connection).await?;
    // A pooler in transaction mode gives the session that became free to this transaction.
    other.execute("BEGIN").await?;
    session(&mut other).await?;
    let after = session(connection).await?;
    other.close().await?;
    Ok(before == after)
}

async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

/// True if the server refuses further connections, of this user or of all.
fn is_connection_limit(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "53300")
}

pub fn timed_out(_: Elapsed) -> StoreError {
    StoreError::Unavailable(format!("PostgreSQL did not respond within {STATEMENT_TIMEOUT:?}"))
}

fn reject_old_version(version: Option<u32>) -> Result<(), StoreError> {
    match version {
        Some(version) if version < MIN_VERSION => {
            Err(StoreError::incompatible(&format!("PostgreSQL {} is not supported; use 15 or later", version / 10_000)))
        }
        _ => Ok(()),
    }
}

/// In another encoding, a character of a name may not exist.
fn reject_encoding(encoding: &str) -> Result<(), StoreError> {
    match encoding {
        "UTF8" => Ok(()),
        _ => Err(StoreError::Incompatible(format!(
            "the database has the encoding {encoding}; give one in UTF8: CREATE DATABASE mintkey TEMPLATE template0 \
             ENCODING 'UTF8'"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn open_postgres_that_is_refused_says_so_without_the_password() {
        // Port 1 is reserved, and nothing listens there.
        let options = postgres_options("postgres://user:hidden-word@127.0.0.1:1/mintkey").unwrap();
        let Err(StoreError::Unavailable(error)) = open_postgres(&options, 1).await.map(|_| ()) else {
            panic!("not an outage");
        };
        assert!(error.contains("127.0.0.1:1") && error.contains("refused") && error.contains("start it"), "{error}");
        assert!(!error.contains("hidden-word"), "{error}");
    }

    #[test]
    fn server_before_15_is_rejected() {
        assert!(reject_old_version(Some(140_012)).is_err());
        assert!(reject_old_version(Some(150_000)).is_ok());
    }
}
