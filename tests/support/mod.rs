//! Test support: starts a real server as a user would, and sends it requests.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use database::Kind;
use reqwest::{Method, RequestBuilder, StatusCode};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, QueryResult, Statement};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const KEYS: &str = "/api/auth/api-keys/";
pub const VERIFY: &str = "/api/auth/api-keys/verify";

pub mod database;
#[allow(dead_code, reason = "not every test binary runs it")]
pub mod doctor;
#[allow(dead_code, reason = "not every test binary stops or freezes it")]
pub mod postgres;
mod response;

pub use response::Response;

/// The program of this build, or the one that `TEST_PROGRAM` names.
pub fn mintkey() -> Command {
    let program = std::env::var("TEST_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_mintkey").to_owned());
    let mut command = Command::new(program);
    // Settings of the developer's shell must not reach the tests.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MINTKEY_") || name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    command
}

/// The same, with this data directory and its database.
pub fn mintkey_at(data: &Path) -> Command {
    let mut command = mintkey();
    command.env("MINTKEY_DATA_DIR", data);
    database::configure(&mut command, data);
    command
}

/// The master secret of a [`prepared`] data directory.
pub const MASTER_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A data directory with a migrated database and a master secret, in which no server has started.
#[allow(dead_code, reason = "not every test binary needs one")]
pub fn prepared() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    succeed(mintkey_at(directory.path()).arg("migrate"));
    std::fs::write(directory.path().join("master.secret"), MASTER_SECRET).unwrap();
    directory
}

/// A client without trusted certificates: loading them takes longer than a request.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}

/// A running `mintkey serve` with its own data directory. Drop ends the process.
pub struct Server {
    process: Child,
    pub url: String,
    pub data: PathBuf,
    log: Arc<Mutex<String>>,
    /// While this is locked, the log stays unread.
    log_gate: Arc<Mutex<()>>,
    _directory: Option<TempDir>,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts with additional arguments to `serve`.
    pub fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self::start_in(directory.path(), arguments);
        server._directory = Some(directory);
        server
    }

    /// Starts in a data directory that outlives the server, on a loopback address of that directory alone: a request to a
    /// server that has ended must not reach another test's server that was given the same port.
    pub fn start_in(data: &Path, arguments: &[&str]) -> Self {
        let mut hasher = DefaultHasher::new();
        data.hash(&mut hasher);
        let [a, b, c, ..] = hasher.finish().to_le_bytes();
        let listen = format!("127.{}.{b}.{}:0", 1 + a % 254, 1 + c % 254);
        let mut command = mintkey_at(data);
        command.args(["serve", "--listen", &listen]).args(arguments);
        Self::spawn(&mut command, data)
    }

    /// Starts this command, and waits until the server listens.
    pub fn spawn(command: &mut Command, data: &Path) -> Self {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (announce, announced) = std::sync::mpsc::channel();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let kept = log.clone();
        let log_gate = Arc::<Mutex<()>>::default();
        let gate = log_gate.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                drop(gate.lock());
                if let Some(address) = line.contains("listening").then(|| address_in(&line)).flatten() {
                    let _ = announce.send(address);
                }
                let mut kept = kept.lock().unwrap();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let address = announced.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| {
            let _ = process.kill();
            panic!("the server did not start:\n{}", log.lock().unwrap())
        });
        Self { process, url: format!("http://{address}"), data: data.to_owned(), log, log_gate, _directory: None }
    }

    /// A token of the built-in issuer for this user.
    pub fn token(&self, subject: &str) -> String {
        self.token_with(subject, &[])
    }

    pub fn token_with(&self, subject: &str, arguments: &[&str]) -> String {
        let token = run(mintkey_at(&self.data).args(["token", "--subject", subject]).args(arguments));
        assert!(token.status.success(), "{token:?}");
        String::from_utf8(token.stdout).unwrap().trim().to_owned()
    }

    /// A request with this bearer credential, or without one if it is empty.
    pub fn request(&self, method: Method, path: &str, credential: &str) -> RequestBuilder {
        let request = client().request(method, format!("{}{path}", self.url));
        if credential.is_empty() { request } else { request.bearer_auth(credential) }
    }

    pub async fn create(&self, credential: &str, body: Value) -> Response {
        Response::to(self.request(Method::POST, KEYS, credential).json(&body)).await
    }

    /// Sends a create request with exactly this body.
    pub async fn create_raw(&self, credential: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.request(Method::POST, KEYS, credential).header("content-type", "application/json");
        Response::to(request.body(body)).await
    }

    /// Creates a key with these scopes and returns the response body.
    pub async fn create_key(&self, credential: &str, scopes: &[&str]) -> Value {
        self.create_key_from(credential, json!({ "name": "k", "scopes": scopes })).await
    }

    /// Creates a key from this request body and returns the response body.
    pub async fn create_key_from(&self, credential: &str, body: Value) -> Value {
        let response = self.create(credential, body).await;
        assert_eq!(response.status, StatusCode::CREATED, "{:?}", response.body);
        response.body
    }

    /// Sends a request with this JSON body, or without a body if it is `null`.
    pub async fn call(&self, method: Method, path: &str, credential: &str, body: Value) -> Response {
        let request = self.request(method, path, credential);
        Response::to(if body.is_null() { request } else { request.json(&body) }).await
    }

    pub async fn get(&self, path: &str, credential: &str) -> Response {
        self.call(Method::GET, path, credential, Value::Null).await
    }

    pub async fn patch(&self, id: &str, credential: &str, body: Value) -> Response {
        self.call(Method::PATCH, &format!("{KEYS}{id}"), credential, body).await
    }

    pub async fn rotate(&self, id: &str, credential: &str, body: Value) -> Response {
        self.call(Method::POST, &format!("{KEYS}{id}/rotate"), credential, body).await
    }

    pub async fn revoke(&self, id: &str, credential: &str, body: Value) -> Response {
        self.call(Method::POST, &format!("{KEYS}{id}/revoke"), credential, body).await
    }

    pub async fn delete(&self, id: &str, credential: &str) -> Response {
        self.call(Method::DELETE, &format!("{KEYS}{id}"), credential, Value::Null).await
    }

    pub async fn verify(&self, credential: &str, body: Value) -> Response {
        self.call(Method::POST, VERIFY, credential, body).await
    }

    /// The `code` with which verify responds for this secret.
    pub async fn verify_code(&self, credential: &str, secret: &str) -> String {
        let response = self.verify(credential, json!({ "key": secret })).await;
        assert_eq!(response.status, StatusCode::OK, "{}", response.text);
        response.body["code"].as_str().unwrap().to_owned()
    }

    /// The actions of a key's audit events, oldest first.
    pub async fn audit_actions(&self, id: &str) -> Vec<String> {
        let id = database::uuid(id);
        let rows = self.rows(&format!("SELECT action FROM audit_events WHERE key_id = {id} ORDER BY id")).await;
        rows.iter().map(|row| row.try_get("", "action").unwrap()).collect()
    }

    /// Every row of the tables that a request can change, as text, without `last_used_at` and the events of refusals.
    pub async fn dump(&self) -> String {
        let mut dump = String::new();
        for table in
            ["api_keys", "secrets", "audit_events", "idempotency_records", "owner_key_counts", "revocation_jobs"]
        {
            let line = match database::kind() {
                Kind::Sqlite => self.columns_of(table).await,
                Kind::Postgres => "(to_jsonb(t) - 'last_used_at')::text".to_owned(),
            };
            let without_refusals = if table == "audit_events" { "WHERE action <> 'refused'" } else { "" };
            for row in self.rows(&format!("SELECT {line} AS line FROM {table} t {without_refusals} ORDER BY 1")).await {
                dump.push_str(&format!("{table} {}\n", row.try_get::<String>("", "line").unwrap()));
            }
        }
        dump
    }

    async fn columns_of(&self, table: &str) -> String {
        let columns = format!("SELECT name FROM pragma_table_info('{table}') WHERE name <> 'last_used_at'");
        let columns = self.rows(&columns).await;
        let quoted = |column: &QueryResult| format!("quote({})", column.try_get::<String>("", "name").unwrap());
        columns.iter().map(quoted).collect::<Vec<_>>().join(" || ' ' || ")
    }

    /// Runs a statement over a connection of its own.
    pub async fn execute(&self, sql: &str) {
        let database = self.database().await;
        database.execute_unprepared(sql).await.unwrap();
        database.close().await.unwrap();
    }

    pub async fn database(&self) -> DatabaseConnection {
        Database::connect(database::url(&self.data)).await.unwrap()
    }

    /// Locks the database against writes, until `ROLLBACK` on the returned connection.
    pub async fn lock(&self) -> DatabaseConnection {
        let mut options = ConnectOptions::new(database::url(&self.data));
        options.max_connections(1);
        let other = Database::connect(options).await.unwrap();
        other.execute_unprepared(database::LOCK[database::kind() as usize]).await.unwrap();
        other
    }

    pub async fn rows(&self, sql: &str) -> Vec<QueryResult> {
        let database = self.database().await;
        let statement = Statement::from_string(database.get_database_backend(), sql);
        let rows = database.query_all_raw(statement).await.unwrap();
        database.close().await.unwrap();
        rows
    }

    /// Runs the integrity checks of SQLite. PostgreSQL checks on every read.
    pub async fn assert_integrity(&self) {
        if database::kind() == Kind::Sqlite {
            let check = self.rows("PRAGMA integrity_check").await;
            assert_eq!(check[0].try_get_by_index::<String>(0).unwrap(), "ok");
            assert_eq!(self.rows("PRAGMA foreign_key_check").await.len(), 0);
        }
    }

    /// The number of rows of a table.
    pub async fn count(&self, table: &str) -> i64 {
        self.rows(&format!("SELECT count(*) AS n FROM {table}")).await[0].try_get("", "n").unwrap()
    }

    /// The numbers of keys, secrets and audit events other than refusals. A rejected request changes none of them.
    pub async fn counts(&self) -> [i64; 3] {
        const CHANGES: &str = "audit_events WHERE action <> 'refused'";
        [self.count("api_keys").await, self.count("secrets").await, self.count(CHANGES).await]
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a log line that contains all of these words, and returns it.
    pub fn wait_for_log(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(line) = self.log().lines().find(|line| words.iter().all(|word| line.contains(word))) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "no line with {words:?} in:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// While this is locked, the server's standard error stays unread.
    #[allow(dead_code, reason = "not every test binary leaves the log unread")]
    pub fn log_gate(&self) -> Arc<Mutex<()>> {
        self.log_gate.clone()
    }

    /// The URL of the admin listener.
    pub fn admin_url(&self) -> String {
        let line = self.wait_for_log(&["admin listener started"]);
        format!("http://{}", address_in(&line).unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends SIGTERM and returns the exit status.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        self.sigterm();
        self.process.wait().unwrap()
    }

    pub fn sigterm(&self) {
        self.signal("TERM");
    }

    #[allow(dead_code, reason = "not every test binary reloads a server")]
    pub fn sighup(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        assert!(run(Command::new("kill").args(["-s", name, &self.pid().to_string()])).status.success());
    }

    /// The exit status, if the process ends before the limit.
    pub fn exit_within(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.process.try_wait().unwrap() {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                status => return status,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    line.split(|next: char| !next.is_ascii_digit() && next != '.' && next != ':').find_map(|word| word.parse().ok())
}

pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

pub fn id(key: &Value) -> &str {
    key["id"].as_str().unwrap_or_else(|| panic!("no id: {key}"))
}

pub fn secret(key: &Value) -> &str {
    key["key"].as_str().unwrap_or_else(|| panic!("no secret: {key}"))
}

/// Runs a command, which must succeed, and returns its standard output.
#[allow(dead_code, reason = "not every test binary runs tools")]
pub fn succeed(command: &mut Command) -> String {
    let output = run(command);
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).join("\n");
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Polls until there is a value.
pub async fn eventually<T>(within: Duration, what: &str, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = poll().await {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An id that no key has.
pub fn unknown_key() -> String {
    mintkey::domain::id::new_id(mintkey::domain::clock::Clock::System.now()).to_string()
}
