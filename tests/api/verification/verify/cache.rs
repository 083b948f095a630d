//! Verify from the cache: a change made by this process takes effect before its response is sent, also under load; a
//! change made by another process takes effect within a second.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Response, Server, VERIFY, eventually, id, mintkey_at, run, secret};

const CLIENTS: usize = 32;
/// Verifications by each client after the change.
const VERIFIES_AFTER: usize = 3;

fn gateway(server: &Server) -> (String, String) {
    (server.token_with("gateway", &["--scopes", "api-keys:verify"]), server.token("alice"))
}

/// Verifies over connections that stay open.
#[derive(Clone)]
struct Verifier {
    client: Client,
    url: String,
    gateway: String,
}

impl Verifier {
    fn new(server: &Server, gateway: &str) -> Self {
        Self { client: Client::new(), url: format!("{}{VERIFY}", server.url), gateway: gateway.to_owned() }
    }

    async fn verify_code(&self, secret: &str) -> String {
        let request = self.client.post(&self.url).bearer_auth(&self.gateway);
        let response = Response::to(request.json(&json!({ "key": secret, "scopes": ["a"] }))).await;
        assert_eq!(response.status, 200, "{}", response.text);
        response.body["code"].as_str().unwrap().to_owned()
    }

    /// Verifies the secret from many clients while the change is made. Checks that every request sent after the
    /// response to the change sees the change.
    async fn verify_during(
        &self,
        secret: &str,
        change: impl Future<Output = Response>,
        [before, after]: [&'static str; 2],
    ) {
        let changed = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for _ in 0..CLIENTS {
            let (verifier, changed, secret) = (self.clone(), changed.clone(), secret.to_owned());
            tasks.spawn(async move {
                let mut verified_after = 0;
                while verified_after < VERIFIES_AFTER {
                    let is_after = changed.load(Ordering::SeqCst);
                    let code = verifier.verify_code(&secret).await;
                    assert!(
                        code == after || !is_after && code == before,
                        "{code}, requested after the change: {is_after}"
                    );
                    verified_after += usize::from(is_after);
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        let response = change.await;
        changed.store(true, Ordering::SeqCst);
        assert!(response.status.is_success(), "{}", response.text);
        while let Some(started) = tasks.join_next().await {
            started.unwrap();
        }
    }
}

async fn assert_changes_take_effect_at_once(server: Server, warm: bool, rounds: usize) {
    let (gateway, alice) = gateway(&server);
    let verifier = Verifier::new(&server, &gateway);
    for round in 0..rounds {
        for change in ["revoke", "delete", "rotate", "disable and enable", "scopes"] {
            let key = server.create_key_from(&alice, json!({ "name": change, "scopes": ["a"] })).await;
            let (id, secret) = (id(&key), secret(&key));
            if warm {
                assert_eq!(verifier.verify_code(secret).await, "VALID", "{change}, round {round}");
            }
            match change {
                "revoke" => {
                    verifier.verify_during(secret, server.revoke(id, &alice, Value::Null), ["VALID", "REVOKED"]).await
                }
                "delete" => verifier.verify_during(secret, server.delete(id, &alice), ["VALID", "REVOKED"]).await,
                "rotate" => {
                    let rotate = server.rotate(id, &alice, json!({ "grace_seconds": 0 }));
                    verifier.verify_during(secret, rotate, ["VALID", "EXPIRED"]).await;
                }
                "scopes" => {
                    let patch = server.patch(id, &alice, json!({ "scopes": ["b"] }));
                    verifier.verify_during(secret, patch, ["VALID", "INSUFFICIENT_SCOPE"]).await;
                }
                _ => {
                    let disable = server.patch(id, &alice, json!({ "enabled": false }));
                    verifier.verify_during(secret, disable, ["VALID", "DISABLED"]).await;
                    let enable = server.patch(id, &alice, json!({ "enabled": true }));
                    verifier.verify_during(secret, enable, ["DISABLED", "VALID"]).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_sees_change_of_cached_key_before_its_response() {
    assert_changes_take_effect_at_once(Server::start(), true, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_sees_change_of_loading_key_before_its_response() {
    assert_changes_take_effect_at_once(Server::start(), false, 10).await;
    assert_changes_take_effect_at_once(Server::start_with(&["--cache-ttl", "1ms"]), false, 5).await;
    assert_changes_take_effect_at_once(Server::start_with(&["--cache-size", "0"]), false, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_of_uncached_key_serves_a_thousand_at_once() {
    let server = Server::start();
    let (gateway, alice) = gateway(&server);
    let key = server.create_key(&alice, &["a"]).await;
    let verifier = Verifier::new(&server, &gateway);
    let codes = (0..1000).map(|_| verifier.verify_code(secret(&key)));
    assert!(futures_util::future::join_all(codes).await.iter().all(|code| code == "VALID"));
}

fn keys_command(server: &Server, arguments: &[&str]) -> Output {
    let output = run(mintkey_at(&server.data).arg("keys").args(arguments));
    assert!(output.status.success(), "{output:?}");
    output
}

const WITHIN_A_SECOND: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn verify_sees_change_by_other_process_within_a_second() {
    let server = Server::start();
    let (gateway, alice) = gateway(&server);
    for _ in 0..3 {
        let (revoked, rotated) =
            (server.create_key(&alice, &[]).await, server.create_key_from(&alice, json!({ "name": "l" })).await);
        for key in [&revoked, &rotated] {
            assert_eq!(server.verify_code(&gateway, secret(key)).await, "VALID");
        }
        keys_command(&server, &["revoke", id(&revoked)]);
        let is =
            async |key: &Value, code: &str| (server.verify_code(&gateway, secret(key)).await == code).then_some(());
        eventually(WITHIN_A_SECOND, "REVOKED", async || is(&revoked, "REVOKED").await).await;
        keys_command(&server, &["rotate", id(&rotated)]);
        eventually(WITHIN_A_SECOND, "EXPIRED", async || is(&rotated, "EXPIRED").await).await;
        assert_eq!(server.verify_code(&gateway, secret(&revoked)).await, "REVOKED");
    }
}

#[tokio::test]
async fn verify_finds_key_made_by_other_process_at_once() {
    let server = Server::start();
    let (gateway, _) = gateway(&server);
    for _ in 0..3 {
        let made = keys_command(&server, &["create", "--json", "--owner", "alice", "--name", "k"]);
        let key: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    }
}

mod sqlite {
    use std::fs;

    use sea_orm::ConnectionTrait;

    use super::*;

    /// No notification is published, and the TTL of the cache is longer: SQLite's data version shows the change.
    #[tokio::test]
    async fn verify_sees_change_by_database_shell_within_a_second() {
        let server = Server::start();
        let (gateway, alice) = gateway(&server);
        let key = server.create_key(&alice, &[]).await;
        assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
        server.execute("UPDATE api_keys SET enabled = false").await;
        let disabled = async || (server.verify_code(&gateway, secret(&key)).await == "DISABLED").then_some(());
        eventually(WITHIN_A_SECOND, "DISABLED", disabled).await;
    }

    #[tokio::test]
    async fn verify_uses_cache_while_database_is_locked_or_gone() {
        let server = Server::start();
        let (gateway, alice) = gateway(&server);
        let key = server.create_key(&alice, &[]).await;
        assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");

        let other = server.lock().await;
        let started = Instant::now();
        server.create(&alice, json!({ "name": "x" })).await.assert_problem(503);
        for _ in 0..50 {
            assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
            assert_eq!(server.get("/api/auth/forward", secret(&key)).await.status, 200);
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        other.execute_unprepared("ROLLBACK").await.unwrap();
        other.close().await.unwrap();

        let (here, away) = (server.data.join("mintkey.db"), server.data.join("away.db"));
        fs::rename(&here, &away).unwrap();
        server.create(&alice, json!({ "name": "x" })).await.assert_problem(503);
        for _ in 0..50 {
            assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
        }
        fs::rename(&away, &here).unwrap();
        assert_eq!(server.create(&alice, json!({ "name": "x" })).await.status, 201);
    }

    #[tokio::test]
    async fn verify_uses_stale_cache_no_longer_than_its_limit() {
        let server = Server::start_with(&["--max-staleness", "4s", "--cache-ttl", "1s"]);
        let (gateway, alice) = gateway(&server);
        let key = server.create_key(&alice, &[]).await;
        assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
        let (here, away) = (server.data.join("mintkey.db"), server.data.join("away.db"));
        fs::rename(&here, &away).unwrap();
        let gone = Instant::now();
        while gone.elapsed() < Duration::from_millis(3500) {
            assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let verify = async || server.verify(&gateway, json!({ "key": secret(&key) })).await;
        let unavailable = async || (verify().await.status == 503).then_some(());
        eventually(Duration::from_secs(4), "an outage", unavailable).await;
        fs::rename(&away, &here).unwrap();
        let again = async || (verify().await.body["code"] == "VALID").then_some(());
        eventually(Duration::from_secs(2), "VALID", again).await;
    }

    /// The database file exists, but its content is overwritten.
    #[tokio::test]
    async fn verify_of_unreadable_key_is_503_and_no_verdict() {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Server::start_in(directory.path(), &[]);
        let (gateway, alice) = gateway(&server);
        let mut unknown = Vec::new();
        for _ in 0..4 {
            unknown.push(server.create_key(&alice, &[]).await);
        }
        assert!(server.terminate().success());
        let server = Server::start_in(directory.path(), &[]);
        for file in ["mintkey.db", "mintkey.db-wal"] {
            let path = server.data.join(file);
            let length = fs::metadata(&path).map_or(0, |file| file.len());
            fs::write(&path, vec![0xff; length as usize]).unwrap();
        }
        let assert_unavailable = |response: &Response| {
            response.assert_problem(503);
            assert!(response.header("retry-after").is_some());
            assert!(response.header("x-auth-key-id").is_none());
        };
        let started = Instant::now();
        for key in &unknown {
            assert_unavailable(&server.verify(&gateway, json!({ "key": secret(key) })).await);
            assert_unavailable(&server.get("/api/auth/forward", secret(key)).await);
            assert_unavailable(&server.get("/api/auth/api-keys/self", secret(key)).await);
            let introspect = server.request(Method::POST, "/api/oauth/introspect", &gateway);
            let introspect = introspect.header("content-type", "application/x-www-form-urlencoded");
            let introspected = Response::to(introspect.body(format!("token={}", secret(key)))).await;
            assert_unavailable(&introspected);
            assert_eq!(introspected.body["active"], false, "{}", introspected.text);
        }
        assert!(started.elapsed() < Duration::from_secs(4 * 4 * 2), "{:?}", started.elapsed());
        assert_eq!(server.verify_code(&gateway, "mk_garbage").await, "NOT_FOUND", "that needs no store");
    }
}
