//! A deployment of several replicas on one PostgreSQL, with the same master secret and signing key.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::doctor::run_doctor;
use crate::support::postgres::Postgres;
use crate::support::{Response, Server, id, mintkey, secret};

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

    /// Starts a replica with this database URL, which must end by itself with an error, and returns its log.
    pub fn refused_replica(&self, url: &str) -> String {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut process = command.env("MINTKEY_DATABASE_URL", url).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = loop {
            match process.try_wait().unwrap() {
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                None => process.kill().unwrap(),
                Some(status) => break status,
            }
        };
        let log = std::io::read_to_string(process.stderr.unwrap()).unwrap();
        assert!(status.code().is_some_and(|code| code != 0), "{status}\n{log}");
        log
    }

    /// The report of `mintkey doctor` on this database URL, and whether all checks pass.
    pub fn doctor(&self, url: &str) -> (String, bool) {
        std::fs::set_permissions(self.data.path(), Permissions::from_mode(0o700)).unwrap();
        let mut doctor = self.command(&["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]);
        run_doctor(doctor.env("MINTKEY_DATABASE_URL", url))
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

/// The bound on the lag of a revocation while the database is reachable.
pub const MAX_LAG: Duration = Duration::from_secs(5);

/// The time after a revocation at which its key is first checked.
pub const FIRST_CHECK: Duration = Duration::from_millis(200);

/// Revokes keys at `here` that `there` has cached, and checks that `there` does not find them valid later than the bound.
/// Returns the longest time that it did.
pub async fn assert_revocations_arrive(here: &Server, there: &Server) -> Duration {
    let (gateway, alice) = tokens(here);
    let mut revoked = Vec::new();
    for _ in 0..6 {
        let key = here.create_key(&alice, &[]).await;
        wait_for_code(there, &gateway, secret(&key), "VALID", Instant::now()).await;
        assert_eq!(here.revoke(id(&key), &alice, Value::Null).await.status, 200);
        revoked.push((key, Instant::now()));
        tokio::time::sleep(FIRST_CHECK).await;
    }
    let end = Instant::now() + MAX_LAG + Duration::from_secs(2);
    let mut longest = Duration::ZERO;
    while Instant::now() < end {
        for (key, since) in &revoked {
            let elapsed = since.elapsed();
            if there.verify(&gateway, json!({ "key": secret(key) })).await.body["code"] == "VALID" {
                assert!(elapsed < MAX_LAG, "VALID {elapsed:?} after the revocation\n{}", there.log());
                longest = longest.max(elapsed);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    longest
}

/// Checks that this is a 503 with Retry-After, sent in time.
pub fn assert_unavailable(response: &Response, started: Instant) {
    response.assert_problem(503);
    assert!(response.header("retry-after").is_some());
    // Two seconds, and time for the rest on a busy machine.
    assert!(started.elapsed() < Duration::from_millis(2500), "{:?}", started.elapsed());
}
