//! Checks of the database: reachable, of this version, with enough connections.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::cli::doctor::CheckResult;
use crate::config::DataSettings;
use crate::store::{DatabaseReport, Encryption, PostgresFacts, SchemaState, Store};

pub async fn inspect_database(url: &Result<String, String>, now: DateTime<Utc>) -> Result<DatabaseReport, String> {
    let url = url.as_ref().map_err(Clone::clone)?;
    Store::inspect(url, now).await.map_err(|error| match url.starts_with("sqlite:") {
        true => format!(
            "it cannot be read: {error}; check that the file is mintkey's, that this user may read it, and the disk"
        ),
        false => error.to_string(),
    })
}

pub fn check_database(report: &Result<DatabaseReport, String>, file: Option<&Path>) -> CheckResult {
    let DatabaseReport { schema, postgres, .. } = report.as_ref().map_err(Clone::clone)?;
    match schema {
        SchemaState::Current => return Ok("readable and up to date".into()),
        SchemaState::Newer { version, min_binary_version } => {
            return Err(format!(
                "a newer mintkey has migrated it to schema version {version}, which requires a binary of version \
                 {min_binary_version} or later; run that version, or restore a backup taken before"
            ));
        }
        SchemaState::Missing | SchemaState::Outdated(_) => {}
    }
    if postgres.as_ref().is_some_and(|postgres| !postgres.may_create_tables) {
        return Err(
            "the user of the URL may not create tables in it; make that user its owner (ALTER DATABASE ... OWNER \
                    TO ...), or GRANT CREATE ON SCHEMA public"
                .into(),
        );
    }
    match schema {
        SchemaState::Outdated(pending) => Err(format!(
            "{pending} migrations are pending; run `mintkey migrate`, or start `mintkey serve`, which applies them"
        )),
        _ => match file.filter(|file| !file.exists()) {
            Some(file) => Ok(format!("{} does not exist yet; `mintkey serve` creates it", file.display())),
            None => Ok("it has no tables yet; `mintkey serve` creates them".into()),
        },
    }
}

/// Each process holds one connection more, for the change feed.
const CHANGE_FEED_CONNECTIONS: u32 = 1;

pub fn check_connections(data: &DataSettings, report: &Result<DatabaseReport, String>) -> CheckResult {
    let postgres = match postgres_facts(report) {
        Ok(postgres) => postgres,
        Err(reason) => return Ok(reason.into()),
    };
    let (available, per_replica) = (postgres.max_connections, data.database_connections + CHANGE_FEED_CONNECTIONS);
    match available / per_replica {
        0 => Err(format!(
            "this user may open {available} at a time, and a replica uses up to {per_replica}; raise max_connections of \
             PostgreSQL, or the CONNECTION LIMIT of the user or the database, or lower --database-connections \
             (MINTKEY_DATABASE_CONNECTIONS)"
        )),
        replicas => Ok(format!("{available}, enough for replicas: {replicas}, with up to {per_replica} each")),
    }
}

/// Fails if a crash of PostgreSQL may lose what was acknowledged: a revoked key would be valid again.
pub fn check_durability(report: &Result<DatabaseReport, String>) -> CheckResult {
    match postgres_facts(report).map(|postgres| &postgres.unsafe_setting) {
        Err(reason) => Ok(reason.into()),
        Ok(None) => Ok("acknowledged changes survive a crash of PostgreSQL".into()),
        Ok(Some(setting)) => Err(format!(
            "{setting} is off in PostgreSQL, so that a crash may lose acknowledged keys and revocations; set it to on \
             where it was set (postgresql.conf, ALTER SYSTEM, ALTER DATABASE or ALTER ROLE)"
        )),
    }
}

/// Reports how the connections are protected. Fails on nothing: a server on the same machine needs no encryption.
pub fn check_encryption(report: &Result<DatabaseReport, String>) -> CheckResult {
    let postgres = match postgres_facts(report) {
        Ok(postgres) => postgres,
        Err(reason) => return Ok(reason.into()),
    };
    let state = match postgres.encryption {
        Encryption::Verified => "encrypted; the server's certificate and host name are verified",
        Encryption::CertificateVerified => {
            "encrypted; the server's certificate is verified, its host name is not (sslmode=verify-full verifies both)"
        }
        Encryption::Unverified => {
            "encrypted, but not verified: another server at this address would be trusted; sslmode=verify-full and \
             sslrootcert verify the server"
        }
        Encryption::None => "not encrypted; sslmode=verify-full and sslrootcert encrypt and verify the server",
        Encryption::LocalSocket => "a socket of this machine needs no encryption",
    };
    Ok(state.into())
}

/// The facts, or why there are none.
fn postgres_facts(report: &Result<DatabaseReport, String>) -> Result<&PostgresFacts, &'static str> {
    match report {
        Err(_) => Err("not checked: the database is unavailable"),
        Ok(report) => report.postgres.as_ref().ok_or("SQLite needs no configuration"),
    }
}
