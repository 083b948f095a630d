//! Facts about a PostgreSQL server and what its user may do there, for a report. They are fetched with one connection
//! attempt: a pool would retry until its time limit and then report only that.

use std::io::ErrorKind;
use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{self, Connection, PgConnection};
use tokio::time::timeout;

use crate::store::StoreError;
use crate::store::postgres::{postgres_options, reject_old_version};

/// Short, because the command is interactive.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a PostgreSQL server that can be used lets its user do.
pub struct PostgresFacts {
    pub may_create_tables: bool,
    /// The connections that its user can have at a time.
    pub max_connections: u32,
}

/// Readable by every user. `api_keys` stands for all tables: privileges are normally granted on all of them together.
const FACTS: &str = "
    SELECT pg_is_in_recovery(),
        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
        coalesce(
            has_table_privilege(to_regclass('api_keys'), 'SELECT')
            AND has_table_privilege(to_regclass('api_keys'), 'INSERT')
            AND has_table_privilege(to_regclass('api_keys'), 'UPDATE'), true),
        least(
            current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                - coalesce(current_setting('reserved_connections', true)::int, 0),
            (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
            (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()))";

impl PostgresFacts {
    /// Fetches the facts. The error says how to fix it.
    pub async fn fetch(url: &str) -> Result<Self, StoreError> {
        let options = postgres_options(url)?;
        let facts = timeout(INSPECT_TIMEOUT, async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let version = connection.server_version_num();
            let facts: (bool, bool, bool, i32) = sqlx::query_as(FACTS).fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok((version, facts))
        });
        let facts = facts.await.unwrap_or_else(|_| Err(sqlx::Error::Io(ErrorKind::TimedOut.into())));
        let (version, (is_standby, may_create_tables, may_use_tables, max_connections)) =
            facts.map_err(|error| StoreError::Incompatible(connect_remedy(&error, &options)))?;
        reject_old_version(version)?;
        let user = options.get_username();
        if is_standby {
            return Err(StoreError::incompatible("this PostgreSQL is a read-only standby; give the primary"));
        }
        if !may_use_tables {
            return Err(StoreError::Incompatible(format!(
                "the user {user} may not read and write the existing tables; give the user who created them, or grant \
                 {user} SELECT, INSERT, UPDATE and DELETE on them"
            )));
        }
        Ok(Self { may_create_tables, max_connections: u32::try_from(max_connections).unwrap_or(0) })
    }
}

/// Says what failed and how to fix it. Repeats no password.
fn connect_remedy(error: &sqlx::Error, options: &PgConnectOptions) -> String {
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
        _ => format!("{server} reports: {message}"),
    }
}
