//! The database of the tests: SQLite, or PostgreSQL if `MINTKEY_TEST_DATABASE=postgres`. `make test` runs both.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use super::postgres::Postgres;
use super::{mintkey, run};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// Blocks all other writers; by [`Kind`].
pub const LOCK: [&str; 2] = [
    "BEGIN IMMEDIATE",
    "BEGIN; LOCK TABLE api_keys, rotated_secrets, secret_last_used, peppers, key_change_events, idempotency_records, key_usage, owner_key_counts, revocation_jobs IN EXCLUSIVE MODE",
];

pub fn kind() -> Kind {
    match std::env::var("MINTKEY_TEST_DATABASE").as_deref() {
        Err(_) | Ok("sqlite") => Kind::Sqlite,
        Ok("postgres") => Kind::Postgres,
        Ok(other) => panic!("MINTKEY_TEST_DATABASE is sqlite or postgres, not {other}"),
    }
}

/// A PostgreSQL for all tests, with a template database `migrated`.
static SHARED: LazyLock<Postgres> = LazyLock::new(|| {
    let postgres = Postgres::start(&[]);
    postgres.query("postgres", "CREATE DATABASE migrated");
    let data = tempfile::tempdir().unwrap();
    let mut migrate = mintkey();
    migrate.arg("migrate").env("MINTKEY_DATA_DIR", data.path()).env("MINTKEY_DATABASE_URL", postgres.url("migrated"));
    let migrated = run(&mut migrate);
    assert!(migrated.status.success(), "{migrated:?}");
    postgres
});

static DATABASES: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::new(None);

/// The URL of the database of this data directory. Creates it, with an empty schema, on first use.
pub fn url(data: &Path) -> String {
    match kind() {
        Kind::Sqlite => format!("sqlite://{}", data.join("mintkey.db").display()),
        Kind::Postgres => {
            let mut databases = DATABASES.lock().unwrap();
            let known = databases.get_or_insert_default().entry(data.to_owned());
            SHARED.url(known.or_insert_with(|| SHARED.database("migrated")))
        }
    }
}

/// The URL of a new PostgreSQL database without tables.
#[allow(dead_code, reason = "not every test binary needs one")]
pub fn empty_url() -> String {
    SHARED.url(&SHARED.database("template1"))
}

/// Sets the database URL. SQLite needs none: its file is in the data directory.
pub fn configure(command: &mut Command, data: &Path) {
    if kind() == Kind::Postgres {
        command.env("MINTKEY_DATABASE_URL", url(data));
    }
}

/// A UUID as an SQL literal.
pub fn uuid(id: &str) -> String {
    match kind() {
        Kind::Sqlite => format!("x'{}'", id.replace('-', "")),
        Kind::Postgres => format!("'{id}'"),
    }
}

/// An SQL expression for a new UUID; by [`Kind`].
pub const NEW_UUID: [&str; 2] = ["randomblob(16)", "gen_random_uuid()"];

/// An SQL expression for a hash that belongs to no secret; by [`Kind`].
pub const NEW_HASH: [&str; 2] = ["randomblob(32)", "sha256(gen_random_uuid()::text::bytea)"];
