//! Facts about a PostgreSQL server and what its user may do there, for a report. They are fetched with one connection
//! attempt: a pool would retry until its time limit and then report only that.

use std::io::ErrorKind;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions, PgSslMode};
use sea_orm::sqlx::{self, Connection, PgConnection, Row};
use tokio::time::timeout;

use crate::domain::clock::Clock;
use crate::domain::id::new_id;
use crate::store::StoreError;
use crate::store::postgres::{
    Privileges, SERVER_SETTINGS, STANDBY, postgres_options, reject_encoding, reject_old_version,
};

/// Short, because the command is interactive.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The time within which a notification must arrive.
const NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(1);

/// What a PostgreSQL server that can be used lets its user do.
pub struct PostgresFacts {
    pub privileges: Privileges,
    /// The connections that its user can have at a time.
    pub max_connections: u32,
    pub encryption: Encryption,
    /// A setting that lets a crash lose what was acknowledged.
    pub unsafe_setting: Option<String>,
    /// What the clock of the server shows more than the clock here. Wrong by up to the time of one query.
    pub clock_offset: TimeDelta,
    /// How full the queue of notifications is, from 0 to 1. When it is full, no key can be changed.
    pub notification_queue: f64,
}

/// How connections are protected, by `sslmode` of the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// Encrypted, and the server's certificate and host name are verified.
    Verified,
    /// Encrypted, and the server's certificate is verified, but not its host name.
    CertificateVerified,
    /// Encrypted, but the server is not verified.
    Unverified,
    /// Not encrypted.
    None,
    /// The server is a process of this machine.
    LocalSocket,
}

/// Readable by every user.
const FACTS: &str = "
    SELECT current_setting('in_hot_standby') = 'on',
        current_setting('transaction_read_only') = 'on',
        coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
        least(
            current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                - coalesce(current_setting('reserved_connections', true)::int, 0),
            (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
            (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())),
        clock_timestamp(), pg_notification_queue_usage()";

impl PostgresFacts {
    /// Fetches the facts. The error says how to fix it. The statements are not prepared: behind a pooler, a name may be
    /// taken.
    pub async fn fetch(url: &str) -> Result<Self, StoreError> {
        let options = postgres_options(url)?;
        let facts = timeout(INSPECT_TIMEOUT, async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let version = connection.server_version_num();
            let facts: (bool, bool, bool, i32, DateTime<Utc>, f64) =
                sqlx::query_as(FACTS).persistent(false).fetch_one(&mut connection).await?;
            let clock_offset = facts.4 - Clock::System.now();
            let privileges = Privileges::fetch(&mut connection).await?;
            let settings = sqlx::raw_sql(SERVER_SETTINGS).fetch_one(&mut connection).await?;
            let settings: (String, Option<String>) = (settings.try_get(0)?, settings.try_get(1)?);
            let is_balanced = balances_load(&mut connection).await?;
            let delivers_notifications = facts.0 || delivers_notifications(&options, &mut connection).await?;
            // What matters is known.
            let _ = connection.close().await;
            Ok((version, facts, privileges, clock_offset, settings, is_balanced, delivers_notifications))
        });
        let facts = facts.await.unwrap_or_else(|_| Err(sqlx::Error::Io(ErrorKind::TimedOut.into())));
        let (version, facts, privileges, clock_offset, (encoding, unsafe_setting), is_balanced, delivers_notifications) =
            facts.map_err(|error| StoreError::Incompatible(connect_remedy(&error, &options)))?;
        let (is_standby, is_read_only, is_encrypted, max_connections, _, notification_queue) = facts;
        reject_old_version(version)?;
        reject_encoding(&encoding)?;
        let user = options.get_username();
        if is_balanced {
            return Err(StoreError::incompatible(
                "Pgpool-II reads from standbys, where a revoked key may be valid: set load_balance_mode = off",
            ));
        }
        if !delivers_notifications {
            return Err(StoreError::incompatible(
                "a notification that one connection sends does not reach another, so changes reach other replicas late; \
                 the likely cause is a pooler in transaction mode, such as PgBouncer: connect to PostgreSQL directly, or \
                 set pool_mode = session",
            ));
        }
        if is_standby {
            return Err(StoreError::incompatible(STANDBY));
        }
        if is_read_only {
            return Err(StoreError::Incompatible(format!(
                "it takes no writes: default_transaction_read_only is on for {user}; set it to off where it was set \
                 (ALTER SYSTEM, ALTER DATABASE or ALTER ROLE), after the reason for it is gone"
            )));
        }
        Ok(Self {
            privileges,
            max_connections: u32::try_from(max_connections).unwrap_or(0),
            encryption: encryption(&options, is_encrypted),
            unsafe_setting,
            clock_offset,
            notification_queue,
        })
    }
}

/// Returns whether this is Pgpool-II and distributes reads. For every other server, its statement is a syntax error.
async fn balances_load(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match sqlx::raw_sql("PGPOOL SHOW load_balance_mode").fetch_one(connection).await {
        Ok(row) => Ok(row.try_get::<String, _>(0)? == "on"),
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Listens on a connection of its own, and notifies over the other one. Both connections are used as the change feed uses
/// its own: a session receives its own notifications even where a pooler loses all others.
async fn delivers_notifications(options: &PgConnectOptions, other: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(INSPECT_TIMEOUT);
    let mut listener = PgListener::connect_with(&pool.connect_with(options.clone()).await?).await?;
    let channel = format!("mintkey_doctor_{}", new_id(Clock::System.now()).simple());
    listener.listen(&channel).await?;
    match sqlx::query("SELECT pg_notify($1, '')").bind(&channel).persistent(false).execute(other).await {
        // The pooler delivered it here: sqlx accepts no notification on a connection that does not listen.
        Err(sqlx::Error::Protocol(_)) => return Ok(false),
        sent => sent?,
    };
    match timeout(NOTIFICATION_TIMEOUT, listener.recv()).await {
        Ok(received) => received.map(|_| true),
        Err(_) => Ok(false),
    }
}

/// `is_encrypted` is the server's word. It decides where the URL leaves it to the server.
fn encryption(options: &PgConnectOptions, is_encrypted: bool) -> Encryption {
    match options.get_ssl_mode() {
        _ if options.get_socket().is_some() => Encryption::LocalSocket,
        PgSslMode::VerifyFull => Encryption::Verified,
        PgSslMode::VerifyCa => Encryption::CertificateVerified,
        PgSslMode::Require => Encryption::Unverified,
        PgSslMode::Prefer if is_encrypted => Encryption::Unverified,
        PgSslMode::Prefer | PgSslMode::Allow | PgSslMode::Disable => Encryption::None,
    }
}

/// Says what failed and how to fix it. Repeats no password.
pub fn connect_remedy(error: &sqlx::Error, options: &PgConnectOptions) -> String {
    let (server, user) = (format!("{}:{}", options.get_host(), options.get_port()), options.get_username());
    let database = options.get_database().unwrap_or(user);
    let no_tls = |reason: &str| {
        format!("there is no TLS with {server}: {reason}; fix sslmode and sslrootcert in the URL, or the server's TLS")
    };
    let error = match error {
        sqlx::Error::Database(error) => error,
        sqlx::Error::Tls(reason) => return no_tls(&reason.to_string()),
        // rustls reports an untrusted certificate as this.
        sqlx::Error::Io(error) if error.kind() == ErrorKind::InvalidData => return no_tls(&error.to_string()),
        sqlx::Error::Io(error) => {
            return format!("no PostgreSQL responds at {server}: {error}; start it, or fix host and port in the URL");
        }
        error => return format!("{server} does not respond as PostgreSQL: {error}; fix host and port in the URL"),
    };
    let message = error.message();
    match error.code().unwrap_or_default().as_ref() {
        "28P01" | "28000" => {
            format!("{server} rejects the user {user}: {message}; fix user and password in the URL, or pg_hba.conf")
        }
        "3D000" => format!(
            "there is no database {database} at {server}; fix the URL, or create it: CREATE DATABASE {database} \
             OWNER {user}"
        ),
        "42501" => format!("{user} may not use the database {database}: {message}; grant it, or give another user"),
        "53300" => {
            format!("{server} has no free connection: {message}; raise max_connections there, or close some")
        }
        "08P01" if message.contains("startup parameter") => format!(
            "{server} is a pooler that refuses mintkey's settings: {message}; connect to PostgreSQL directly, or set \
             pool_mode = session and ignore_startup_parameters = options,extra_float_digits in PgBouncer"
        ),
        _ => format!("{server} reports: {message}"),
    }
}
