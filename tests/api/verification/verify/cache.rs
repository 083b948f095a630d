//! Cache: what is answered from memory is never older than the last change that was answered, on this node under load,
//! and not much older than a change of another process.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{Answer, Server, VERIFY, eventually, id, mintkey_at, run, secret};

const ASKERS: usize = 32;
/// How often each asker asks once the change is made.
const AFTER: usize = 3;

fn gateway(server: &Server) -> (String, String) {
    (server.token_with("gateway", &["--scopes", "api-keys:verify"]), server.token("alice"))
}

/// Connections that are kept, and asked over again and again.
#[derive(Clone)]
struct Asker {
    client: Client,
    url: String,
    gateway: String,
}

impl Asker {
    fn new(server: &Server, gateway: &str) -> Self {
        Self { client: Client::new(), url: format!("{}{VERIFY}", server.url), gateway: gateway.to_owned() }
    }

    async fn code(&self, secret: &str) -> String {
        let request = self.client.post(&self.url).bearer_auth(&self.gateway);
        let answer = Answer::of(request.json(&json!({ "key": secret, "scopes": ["a"] }))).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body["code"].as_str().unwrap().to_owned()
    }

    /// Asks about the secret from all sides while the change is made. Whatever is asked after the change was answered is
    /// answered by it.
    async fn hammer(&self, secret: &str, change: impl Future<Output = Answer>, [before, after]: [&'static str; 2]) {
        let changed = Arc::new(AtomicBool::new(false));
        let mut askers = JoinSet::new();
        for _ in 0..ASKERS {
            let (asker, changed, secret) = (self.clone(), changed.clone(), secret.to_owned());
            askers.spawn(async move {
                let mut asked_after = 0;
                while asked_after < AFTER {
                    let is_after = changed.load(Ordering::SeqCst);
                    let code = asker.code(&secret).await;
                    assert!(code == after || !is_after && code == before, "{code}, asked after the change: {is_after}");
                    asked_after += usize::from(is_after);
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        let answer = change.await;
        changed.store(true, Ordering::SeqCst);
        assert!(answer.status.is_success(), "{}", answer.text);
        while let Some(asked) = askers.join_next().await {
            asked.unwrap();
        }
    }
}

async fn every_change_is_in_force_at_once(server: Server, warm: bool, rounds: usize) {
    let (gateway, alice) = gateway(&server);
    let asker = Asker::new(&server, &gateway);
    for round in 0..rounds {
        for change in ["revoke", "delete", "rotate", "disable and enable", "scopes"] {
            let key = server.key(&alice, json!({ "name": change, "scopes": ["a"] })).await;
            let (id, secret) = (id(&key), secret(&key));
            if warm {
                assert_eq!(asker.code(secret).await, "VALID", "{change}, round {round}");
            }
            match change {
                "revoke" => asker.hammer(secret, server.revoke(id, &alice, Value::Null), ["VALID", "REVOKED"]).await,
                "delete" => asker.hammer(secret, server.delete(id, &alice), ["VALID", "REVOKED"]).await,
                "rotate" => {
                    let rotate = server.rotate(id, &alice, json!({ "grace_seconds": 0 }));
                    asker.hammer(secret, rotate, ["VALID", "EXPIRED"]).await;
                }
                "scopes" => {
                    let patch = server.patch(id, &alice, json!({ "scopes": ["b"] }));
                    asker.hammer(secret, patch, ["VALID", "INSUFFICIENT_SCOPE"]).await;
                }
                _ => {
                    let disable = server.patch(id, &alice, json!({ "enabled": false }));
                    asker.hammer(secret, disable, ["VALID", "DISABLED"]).await;
                    let enable = server.patch(id, &alice, json!({ "enabled": true }));
                    asker.hammer(secret, enable, ["DISABLED", "VALID"]).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_sees_change_of_cached_key_before_its_response() {
    every_change_is_in_force_at_once(Server::start(), true, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_sees_change_of_loading_key_before_its_response() {
    every_change_is_in_force_at_once(Server::start(), false, 10).await;
    every_change_is_in_force_at_once(Server::with(&["--cache-ttl", "1ms"]), false, 5).await;
    every_change_is_in_force_at_once(Server::with(&["--cache-entries", "0"]), false, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_of_uncached_key_serves_a_thousand_at_once() {
    let server = Server::start();
    let (gateway, alice) = gateway(&server);
    let key = server.key(&alice, json!({ "name": "k", "scopes": ["a"] })).await;
    let asker = Asker::new(&server, &gateway);
    let codes = (0..1000).map(|_| asker.code(secret(&key)));
    assert!(futures_util::future::join_all(codes).await.iter().all(|code| code == "VALID"));
}

fn keys(server: &Server, arguments: &[&str]) -> Output {
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
            (server.key(&alice, json!({ "name": "k" })).await, server.key(&alice, json!({ "name": "l" })).await);
        for key in [&revoked, &rotated] {
            assert_eq!(server.code(&gateway, secret(key)).await, "VALID");
        }
        keys(&server, &["revoke", id(&revoked)]);
        let is = async |key: &Value, code: &str| (server.code(&gateway, secret(key)).await == code).then_some(());
        eventually(WITHIN_A_SECOND, "REVOKED", async || is(&revoked, "REVOKED").await).await;
        keys(&server, &["rotate", id(&rotated)]);
        eventually(WITHIN_A_SECOND, "EXPIRED", async || is(&rotated, "EXPIRED").await).await;
        assert_eq!(server.code(&gateway, secret(&revoked)).await, "REVOKED");
    }
}

#[tokio::test]
async fn verify_finds_key_made_by_other_process_at_once() {
    let server = Server::start();
    let (gateway, _) = gateway(&server);
    for _ in 0..3 {
        let made = keys(&server, &["create", "--json", "--owner", "alice", "--name", "k"]);
        let key: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");
    }
}

mod sqlite {
    use std::fs;

    use sea_orm::ConnectionTrait;

    use super::*;

    /// Not told of by anybody, and not at once in the cache's time to live either: SQLite says that something was changed.
    #[tokio::test]
    async fn verify_sees_change_by_database_shell_within_a_second() {
        let server = Server::start();
        let (gateway, alice) = gateway(&server);
        let key = server.key(&alice, json!({ "name": "k" })).await;
        assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");
        server.execute("UPDATE api_keys SET enabled = false").await;
        let disabled = async || (server.code(&gateway, secret(&key)).await == "DISABLED").then_some(());
        eventually(WITHIN_A_SECOND, "DISABLED", disabled).await;
    }

    #[tokio::test]
    async fn verify_uses_cache_while_database_is_locked_or_gone() {
        let server = Server::start();
        let (gateway, alice) = gateway(&server);
        let key = server.key(&alice, json!({ "name": "k" })).await;
        assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");

        let other = server.lock().await;
        let asked = Instant::now();
        server.create(&alice, json!({ "name": "x" })).await.problem(503);
        for _ in 0..50 {
            assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");
            assert_eq!(server.get("/api/auth/forward", secret(&key)).await.status, 200);
        }
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        other.execute_unprepared("ROLLBACK").await.unwrap();
        other.close().await.unwrap();

        let (here, away) = (server.data.join("mintkey.db"), server.data.join("away.db"));
        fs::rename(&here, &away).unwrap();
        server.create(&alice, json!({ "name": "x" })).await.problem(503);
        for _ in 0..50 {
            assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");
        }
        fs::rename(&away, &here).unwrap();
        assert_eq!(server.create(&alice, json!({ "name": "x" })).await.status, 201);
    }

    #[tokio::test]
    async fn verify_uses_stale_cache_no_longer_than_its_limit() {
        let server = Server::with(&["--max-staleness", "4s", "--cache-ttl", "1s"]);
        let (gateway, alice) = gateway(&server);
        let key = server.key(&alice, json!({ "name": "k" })).await;
        assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");
        let (here, away) = (server.data.join("mintkey.db"), server.data.join("away.db"));
        fs::rename(&here, &away).unwrap();
        let gone = Instant::now();
        while gone.elapsed() < Duration::from_millis(3500) {
            assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let ask = async || server.verify(&gateway, json!({ "key": secret(&key) })).await;
        let refused = async || (ask().await.status == 503).then_some(());
        eventually(Duration::from_secs(4), "an outage", refused).await;
        fs::rename(&away, &here).unwrap();
        let again = async || (ask().await.body["code"] == "VALID").then_some(());
        eventually(Duration::from_secs(2), "VALID", again).await;
    }

    /// The file is there and nothing of it can be read any more.
    #[tokio::test]
    async fn verify_of_unreadable_key_is_503_and_no_verdict() {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Server::at(directory.path(), &[]);
        let (gateway, alice) = gateway(&server);
        let mut unknown = Vec::new();
        for _ in 0..4 {
            unknown.push(server.key(&alice, json!({ "name": "k" })).await);
        }
        assert!(server.terminate().success());
        let server = Server::at(directory.path(), &[]);
        for file in ["mintkey.db", "mintkey.db-wal"] {
            let path = server.data.join(file);
            let length = fs::metadata(&path).map_or(0, |file| file.len());
            fs::write(&path, vec![0xff; length as usize]).unwrap();
        }
        let is_an_outage = |answer: &Answer| {
            answer.problem(503);
            assert!(answer.header("retry-after").is_some());
            assert!(answer.header("x-auth-key-id").is_none());
        };
        let asked = Instant::now();
        for key in &unknown {
            is_an_outage(&server.verify(&gateway, json!({ "key": secret(key) })).await);
            is_an_outage(&server.get("/api/auth/forward", secret(key)).await);
            is_an_outage(&server.get("/api/auth/api-keys/self", secret(key)).await);
            let introspect = server.request(Method::POST, "/api/oauth/introspect", &gateway);
            let introspect = introspect.header("content-type", "application/x-www-form-urlencoded");
            is_an_outage(&Answer::of(introspect.body(format!("token={}", secret(key)))).await);
        }
        assert!(asked.elapsed() < Duration::from_secs(4 * 4 * 2), "{:?}", asked.elapsed());
        assert_eq!(server.code(&gateway, "mk_garbage").await, "NOT_FOUND", "that needs no store");
    }
}
