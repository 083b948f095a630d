//! Database: the tests run on SQLite, or on PostgreSQL when `MINTKEY_TEST_DATABASE` says so; `make test` does both.

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

/// Takes the right to write from everybody else; by [`Kind`].
pub const LOCK: [&str; 2] = [
    "BEGIN IMMEDIATE",
    "BEGIN; LOCK TABLE api_keys, rotated_secrets, secret_last_used, peppers, key_change_events, idempotency_records, key_usage IN EXCLUSIVE MODE",
];

pub fn kind() -> Kind {
    match std::env::var("MINTKEY_TEST_DATABASE").as_deref() {
        Err(_) | Ok("sqlite") => Kind::Sqlite,
        Ok("postgres") => Kind::Postgres,
        Ok(other) => panic!("MINTKEY_TEST_DATABASE is sqlite or postgres, not {other}"),
    }
}

/// A PostgreSQL for all tests, with a database `migrated` to make others from.
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

/// Of the database that belongs to this data directory; made, with an empty schema, when it is first asked for.
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

/// SQLite's needs no telling: it is in the data directory.
pub fn configure(command: &mut Command, data: &Path) {
    if kind() == Kind::Postgres {
        command.env("MINTKEY_DATABASE_URL", url(data));
    }
}

/// A uuid in SQL.
pub fn uuid(id: &str) -> String {
    match kind() {
        Kind::Sqlite => format!("x'{}'", id.replace('-', "")),
        Kind::Postgres => format!("'{id}'"),
    }
}

/// A new uuid in SQL; by [`Kind`].
pub const NEW_UUID: [&str; 2] = ["randomblob(16)", "gen_random_uuid()"];

/// The hash of no secret; by [`Kind`].
pub const NEW_HASH: [&str; 2] = ["randomblob(32)", "sha256(gen_random_uuid()::text::bytea)"];
