//! Checks of the database: reachable, of this version, with enough connections.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::cli::doctor::CheckResult;
use crate::config::{DataSettings, setting_name};
use crate::store::{DatabaseReport, Encryption, PostgresFacts, SchemaState, Store};

pub async fn inspect_database(url: &Result<String, String>, now: DateTime<Utc>) -> Result<DatabaseReport, String> {
    let url = url.as_ref().map_err(Clone::clone)?;
    Store::inspect(url, now).await.map_err(|error| error.to_string())
}

pub fn check_database(report: &Result<DatabaseReport, String>, file: Option<&Path>) -> CheckResult {
    let DatabaseReport { schema, obstacle, .. } = report.as_ref().map_err(Clone::clone)?;
    if let Some(obstacle) = obstacle {
        return Err(obstacle.clone());
    }
    match schema {
        SchemaState::Current => Ok("readable and up to date".into()),
        SchemaState::Newer { version, min_binary_version } => Err(format!(
            "a newer mintkey has migrated it to schema version {version}, which requires a binary of version \
             {min_binary_version} or later; run that version, or restore a backup taken before"
        )),
        SchemaState::Outdated(pending) => Err(format!(
            "{pending} migrations are pending; run `mintkey migrate`, or start `mintkey serve`, which applies them"
        )),
        // Not content: a wrong data directory looks the same.
        SchemaState::Missing => {
            let what = match file {
                Some(file) if file.exists() => format!("{} has no tables of mintkey", file.display()),
                Some(file) => format!("{} does not exist", file.display()),
                None => "it has no tables of mintkey".into(),
            };
            Err(format!(
                "{what}; if the deployment is new, run `mintkey migrate`, or start `mintkey serve`, which creates it; else \
                 fix {} or {}",
                setting_name("database-url"),
                setting_name("data-dir")
            ))
        }
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

/// Beyond this part, something keeps notifications from being removed, and the rest fills, too.
const QUEUE_LIMIT: f64 = 0.25;

/// Fails if the queue of notifications fills: once it is full, no key can be changed or revoked.
pub fn check_notifications(report: &Result<DatabaseReport, String>) -> CheckResult {
    let usage = match postgres_facts(report) {
        Ok(postgres) => postgres.notification_queue,
        Err(reason) => return Ok(reason.into()),
    };
    let percent = (usage * 100.0).floor();
    if usage < QUEUE_LIMIT {
        return Ok(format!("delivered; {percent} % of their queue is in use"));
    }
    Err(format!(
        "{percent} % of the queue of notifications of PostgreSQL is in use, and when it is full, no key can be changed or \
         revoked; a session that listens has not ended its transaction: find it, as a superuser, with SELECT pid, usename, \
         application_name, xact_start FROM pg_stat_activity WHERE xact_start < now() ORDER BY xact_start; and end it: SELECT \
         pg_terminate_backend(PID)"
    ))
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
