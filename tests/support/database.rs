//! The database of the tests: SQLite, or PostgreSQL if `MINTKEY_TEST_DATABASE=postgres`. `make test` runs both.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use super::postgres::Postgres;
use super::{Server, mintkey, run};

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

/// Inserts copies of the key that meets an SQL condition. They differ in secret, and in id, an SQL expression.
pub async fn copy_key(server: &Server, condition: &str, new_id: &str, copies: u64) {
    let copied = "owner_issuer, owner_subject, owner_organization, name, name_words, scopes, metadata, enabled, \
                  secret_start, secret_last4, created_at, updated_at, expires_at, revoked_at, revoked_by, \
                  revoke_reason, deleted_at, revision, secret_created_at, secret_pepper_id, creation_actor_kind, \
                  creation_request_id, creation_changes";
    let (secret_id, hash) = (NEW_UUID[kind() as usize], NEW_HASH[kind() as usize]);
    let sql = format!(
        "INSERT INTO api_keys (id, secret_id, secret_hash, {copied}) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {copies}) \
         SELECT {new_id}, {secret_id}, {hash}, {copied} FROM n, api_keys WHERE {condition}"
    );
    server.execute(&sql).await;
}
