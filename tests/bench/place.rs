//! A data directory with its database, and the keys written into it.

use std::path::Path;
use std::process::Command;

use chrono::{DateTime, Utc};
use entity::api_key;
use mintkey::domain::secret::{Entropy, Secret};
use mintkey::domain::secret_hash::Peppers;
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, EntityTrait, QueryFilter,
    Statement, TransactionTrait,
};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use super::postgres::Postgres;
use super::process::{Process, on_servers_core};
use super::run;

const MINTKEY: &str = env!("CARGO_BIN_EXE_mintkey");

/// The owner of every other key that is written in bulk.
pub const OWNER: &str = "alice";

/// Columns that are not of interest are copied from this key.
const TEMPLATE: &str = "CREATE TEMPORARY TABLE key_template AS SELECT * FROM api_keys WHERE owner_subject = 'alice'";

pub struct Place {
    data: TempDir,
    pub database: String,
    /// Credentials with `api-keys:verify`: a key and a token.
    pub gateway: String,
    pub gateway_token: String,
    /// The token of [`OWNER`].
    pub owner_token: String,
    /// Tokens of as many users as connect at once.
    pub user_tokens: Vec<String>,
    pub secret: String,
}

/// A key whose secret is known.
pub struct Known {
    pub id: Uuid,
    pub secret: String,
}

impl Place {
    pub fn sqlite() -> Self {
        let data = tempfile::tempdir_in(super::target()).unwrap();
        let database = format!("sqlite://{}", data.path().join("mintkey.db").display());
        Self::with(data, database)
    }

    pub fn postgres(server: &Postgres) -> Self {
        let data = tempfile::tempdir_in(super::target()).unwrap();
        Self::with(data, server.url(&server.database("template1")))
    }

    fn with(data: TempDir, database: String) -> Self {
        let empty = String::new;
        let (gateway, gateway_token, owner_token, secret) = (empty(), empty(), empty(), empty());
        let place = Self { data, database, gateway, gateway_token, owner_token, user_tokens: Vec::new(), secret };
        // The first start creates the database and the secrets that the commands below need.
        drop(place.serve(&[]));
        let gateway = place.create_key("gateway", "api-keys:verify");
        let gateway_token = place.token("gateway", "api-keys:verify");
        let (secret, owner_token) = (place.create_key(OWNER, "projects:read"), place.token(OWNER, ""));
        let user_tokens = (0..64).map(|user| place.token(&format!("user {user}"), "")).collect();
        Self { gateway, gateway_token, owner_token, user_tokens, secret, ..place }
    }

    fn create_key(&self, owner: &str, scopes: &str) -> String {
        let arguments = ["keys", "create", "--json", "--name", "app", "--owner", owner, "--scopes", scopes];
        let made: Value = serde_json::from_str(&self.run(&arguments)).unwrap();
        made["key"].as_str().unwrap().to_owned()
    }

    fn token(&self, subject: &str, scopes: &str) -> String {
        self.run(&["token", "--ttl", "12h", "--subject", subject, "--scopes", scopes])
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = run(Command::new(MINTKEY)
            .args(arguments)
            .args(["--data-dir"])
            .arg(self.path())
            .args(["--database-url", &self.database]));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn path(&self) -> &Path {
        self.data.path()
    }

    /// Starts a server here, with additional arguments to `serve`.
    pub fn serve(&self, arguments: &[&str]) -> Process {
        let mut command = on_servers_core(Path::new(MINTKEY));
        command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", &self.database]);
        command.args(["--max-keys-per-owner", "unlimited", "--data-dir"]);
        Process::start(command.arg(self.path()).args(arguments))
    }

    pub async fn connect(&self) -> DatabaseConnection {
        let mut options = ConnectOptions::new(&self.database);
        options.max_connections(1).sqlx_logging(false);
        Database::connect(options).await.unwrap()
    }

    /// The number of rows of a table.
    pub async fn count(&self, table: &str) -> u64 {
        let database = self.connect().await;
        let backend = database.get_database_backend();
        let count = Statement::from_string(backend, format!("SELECT count(*) AS n FROM {table}"));
        let count: i64 = database.query_one_raw(count).await.unwrap().unwrap().try_get("", "n").unwrap();
        database.close().await.unwrap();
        count.unsigned_abs()
    }

    /// Writes this many keys directly into the database. Half of them belong to [`OWNER`], half to a thousand other
    /// owners. Returns some keys of [`OWNER`], evenly spread, with their secrets.
    pub async fn fill(&self, keys: u64, known: u64) -> Vec<Known> {
        let database = self.connect().await;
        let backend = database.get_database_backend();
        let settings = match backend {
            DbBackend::Sqlite => "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2000000",
            _ => "SET synchronous_commit = off; SET work_mem = '1GB'",
        };
        for statement in settings.split("; ").chain([TEMPLATE]) {
            database.execute_unprepared(statement).await.unwrap();
        }
        const BATCH: u64 = 1_000_000;
        for first in (1..=keys).step_by(BATCH as usize) {
            let last = keys.min(first + BATCH - 1);
            database.execute_unprepared(&rows(backend, first, last)).await.unwrap();
        }
        let known = self.make_known(&database, keys, known).await;
        match backend {
            DbBackend::Sqlite => database.execute_unprepared("PRAGMA journal_mode = WAL").await.unwrap(),
            _ => database.execute_unprepared("VACUUM ANALYZE").await.unwrap(),
        };
        database.close().await.unwrap();
        known
    }

    async fn make_known(&self, database: &DatabaseConnection, keys: u64, known: u64) -> Vec<Known> {
        let master = std::fs::read_to_string(self.path().join("master.secret")).unwrap();
        let peppers = Peppers::derive(&master).unwrap();
        let prefix = "mk".parse().unwrap();
        let transaction = database.begin().await.unwrap();
        let mut made = Vec::new();
        for n in 0..known {
            let number = 2 * (1 + n * (keys / 2) / known).min(keys / 2);
            let secret = Secret::mint(&prefix, &Entropy::from_os().unwrap(), time(number));
            let row = api_key::ActiveModel {
                secret_hash: Set(peppers.newest().hash(&secret).0.to_vec()),
                secret_start: Set(secret.start().to_owned()),
                secret_last4: Set(secret.last4().to_owned()),
                ..Default::default()
            };
            let this = api_key::Entity::update_many().set(row).filter(api_key::Column::Id.eq(id(KEY, number)));
            this.exec(&transaction).await.unwrap();
            made.push(Known { id: id(KEY, number), secret: secret.expose().to_owned() });
        }
        transaction.commit().await.unwrap();
        made
    }
}

/// The prefixes of the ids of keys and of secrets: times in 2024, so that keys created later are newer.
const KEY: &str = "01900000000070008";
const SECRET: &str = "01900000000170008";

fn id(beginning: &str, number: u64) -> Uuid {
    format!("{beginning}{number:015x}").parse().unwrap()
}

/// The creation time of the first secret, in milliseconds.
const FIRST: u64 = 0x0190_0000_0000;

fn time(number: u64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis((FIRST + number).cast_signed()).unwrap()
}

/// The statement that inserts the keys with these numbers, with unknown secrets.
fn rows(backend: DbBackend, first: u64, last: u64) -> String {
    let (numbers, id, hash): (_, fn(&str) -> String, _) = match backend {
        DbBackend::Sqlite => (
            format!(
                "(WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) SELECT i FROM n)"
            ),
            |beginning| format!("unhex(printf('{beginning}%015x', i))"),
            format!("unhex(printf('%012x', {FIRST} + i) || hex(randomblob(26)))"),
        ),
        _ => (
            format!("generate_series({first}, {last}) AS n(i)"),
            |beginning| format!("('{beginning}' || lpad(to_hex(i), 15, '0'))::uuid"),
            format!("decode(lpad(to_hex({FIRST} + i), 12, '0'), 'hex') || substr(sha256(i::text::bytea), 1, 26)"),
        ),
    };
    let same = "owner_issuer, owner_organization, scopes, metadata, enabled, secret_start, secret_last4, \
                created_at, updated_at, expires_at, revoked_at, revoked_by, revoke_reason, deleted_at, \
                revision, secret_created_at, secret_pepper_id, creation_actor_kind, creation_actor_issuer, \
                creation_actor_subject, creation_actor_key_id, creation_request_id, \
                creation_client_address, creation_user_agent, creation_changes";
    format!(
        "INSERT INTO api_keys (id, owner_subject, name, name_words, secret_id, secret_hash, {same}) SELECT {}, \
         CASE WHEN i % 2 = 0 THEN '{OWNER}' ELSE 'user-' || (i / 2 % 1000) END, 'key ' || i, ' key ' || i, {}, {hash}, \
         {same} FROM {numbers}, key_template",
        id(KEY),
        id(SECRET)
    )
}
