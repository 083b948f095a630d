//! A deployment of several replicas on one PostgreSQL, with the same master secret and signing key.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::postgres::Postgres;
use crate::support::{Response, Server, mintkey};

pub struct Cluster {
    pub postgres: Arc<Postgres>,
    pub database: String,
    pub data: TempDir,
}

/// The PostgreSQL of tests that do not disturb it.
static SHARED: LazyLock<Arc<Postgres>> = LazyLock::new(|| Arc::new(Postgres::start(&[])));

impl Cluster {
    pub fn new() -> Self {
        Self::with_shared_postgres(SHARED.clone())
    }

    /// With its own PostgreSQL, which the test may stop or freeze.
    pub fn with_own_postgres() -> Self {
        Self::with_postgres(Postgres::start(&[]))
    }

    pub fn with_postgres(postgres: Postgres) -> Self {
        Self::with_shared_postgres(Arc::new(postgres))
    }

    pub fn with_shared_postgres(postgres: Arc<Postgres>) -> Self {
        let database = postgres.database("template1");
        Self { postgres, database, data: tempfile::tempdir().unwrap() }
    }

    pub fn replica(&self, arguments: &[&str]) -> Server {
        self.replica_with_url(&self.postgres.url(&self.database), arguments)
    }

    /// Starts a replica with this database URL.
    pub fn replica_with_url(&self, url: &str, arguments: &[&str]) -> Server {
        let mut command = mintkey();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments);
        command.env("MINTKEY_DATA_DIR", self.data.path()).env("MINTKEY_DATABASE_URL", url);
        Server::spawn(&mut command, self.data.path())
    }

    /// A command with the same database and secrets.
    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = mintkey();
        command.args(arguments).env("MINTKEY_DATA_DIR", self.data.path());
        command.env("MINTKEY_DATABASE_URL", self.postgres.url(&self.database));
        command
    }

    pub fn query(&self, sql: &str) -> String {
        self.postgres.query(&self.database, sql)
    }

    /// Terminates the connections of mintkey that match this condition.
    pub fn terminate(&self, which: &str) {
        self.query(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = '{}' AND application_name = 'mintkey' AND pid <> pg_backend_pid() AND {which}",
            self.database
        ));
    }
}

pub const LISTENING: &str = "query LIKE '%mintkey_heartbeat%'";

/// The tokens of a gateway and of a user.
pub fn tokens(server: &Server) -> (String, String) {
    (server.token_with("gateway", &["--scopes", "api-keys:verify"]), server.token("alice"))
}

/// Verifies until the verdict is this code, and returns the time elapsed since `since`.
pub async fn wait_for_code(server: &Server, gateway: &str, secret: &str, code: &str, since: Instant) -> Duration {
    loop {
        let response = server.verify(gateway, json!({ "key": secret })).await;
        if response.status == 200 && response.body["code"] == code {
            return since.elapsed();
        }
        assert!(since.elapsed() < Duration::from_secs(30), "still {} and not {code}", response.text);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Checks that this is a 503 with Retry-After, sent in time.
pub fn assert_unavailable(response: &Response, started: Instant) {
    response.assert_problem(503);
    assert!(response.header("retry-after").is_some());
    // Two seconds, and time for the rest on a busy machine.
    assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
}
