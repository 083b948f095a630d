//! Inspection: what the server is like and what its user may do there, by a connection that is made once: a pool would
//! try again and again, and in the end say only that it took too long.

use std::io::ErrorKind;
use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{self, Connection, PgConnection};
use tokio::time::timeout;

use super::{options, refuse_old_version};
use crate::store::StoreError;

/// A person waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// A PostgreSQL that could be used.
pub struct Server {
    /// Whether its user may make tables.
    pub may_create: bool,
    /// How many connections its user may have at a time.
    pub connections: u32,
}

/// What every user may read. `api_keys` stands for all tables: whoever was forgotten there was forgotten elsewhere.
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

impl Server {
    /// The error says what to mend.
    pub async fn inspect(url: &str) -> Result<Self, StoreError> {
        let options = options(url)?;
        let found = timeout(PATIENCE, async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let version = connection.server_version_num();
            let facts: (bool, bool, bool, i32) = sqlx::query_as(FACTS).fetch_one(&mut connection).await?;
            connection.close().await?;
            Ok((version, facts))
        });
        let found = found.await.unwrap_or_else(|_| Err(sqlx::Error::Io(ErrorKind::TimedOut.into())));
        let (version, (standby, may_create, may_use, connections)) =
            found.map_err(|error| StoreError::Refused(cure(&error, &options)))?;
        refuse_old_version(version)?;
        let user = options.get_username();
        if standby {
            return Err(StoreError::refused("this PostgreSQL is a standby, which takes no changes; give the primary"));
        }
        if !may_use {
            return Err(StoreError::Refused(format!(
                "the user {user} may not read and write the tables that are there; give the user who made them, or grant {user} \
                 SELECT, INSERT, UPDATE and DELETE on them"
            )));
        }
        Ok(Self { may_create, connections: u32::try_from(connections).unwrap_or(0) })
    }
}

/// The password is in none of what is repeated here.
fn cure(error: &sqlx::Error, options: &PgConnectOptions) -> String {
    let (place, user) = (format!("{}:{}", options.get_host(), options.get_port()), options.get_username());
    let database = options.get_database().unwrap_or(user);
    let no_tls = |reason: &str| {
        format!("there is no TLS with {place}: {reason}; mend sslmode and sslrootcert in the URL, or the server's side")
    };
    let error = match error {
        sqlx::Error::Database(error) => error,
        sqlx::Error::Tls(reason) => return no_tls(&reason.to_string()),
        // How rustls says that it does not trust a certificate.
        sqlx::Error::Io(error) if error.kind() == ErrorKind::InvalidData => return no_tls(&error.to_string()),
        sqlx::Error::Io(error) => {
            return format!("no PostgreSQL answers at {place}: {error}; start it, or mend host and port in the URL");
        }
        error => return format!("{place} does not answer as PostgreSQL does: {error}; mend host and port in the URL"),
    };
    let said = error.message();
    match error.code().unwrap_or_default().as_ref() {
        "28P01" | "28000" => {
            format!("{place} does not let {user} in: {said}; mend user and password in the URL, or pg_hba.conf")
        }
        "3D000" => format!(
            "there is no database {database} at {place}; mend the URL, or make it: CREATE DATABASE {database} OWNER {user}"
        ),
        "42501" => format!("{user} may not use the database {database}: {said}; grant it, or give another user"),
        "53300" => format!("all connections of {place} are taken: {said}; raise max_connections there, or free some"),
        _ => format!("{place} says: {said}"),
    }
}
