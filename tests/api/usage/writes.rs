//! Writes of usage: every count is written exactly once, also when a write fails.

use std::time::Duration;

use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{Response, Server, VERIFY, eventually, id, secret};

const WRITE_FAILED: &str = "usage flush failed; will retry";

/// Waits until a write has failed.
async fn wait_for_failed_write(server: &Server) {
    let failed = async || server.log().contains(WRITE_FAILED).then_some(());
    eventually(Duration::from_secs(30), "a write that fails", failed).await;
}

async fn total_count(server: &Server) -> i64 {
    server.rows("SELECT CAST(coalesce(sum(count), 0) AS bigint) AS n FROM key_usage").await[0].try_get("", "n").unwrap()
}

/// Shuts the server down and returns the sum of all counts.
async fn total_after_shutdown(mut server: Server) -> i64 {
    assert!(server.terminate().success(), "{}", server.log());
    total_count(&server).await
}

struct Fixture {
    server: Server,
    gateway: String,
    alice: String,
}

async fn fixture() -> Fixture {
    scene_on(Server::start())
}

fn scene_on(server: Server) -> Fixture {
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let alice = server.token("alice");
    Fixture { server, gateway, alice }
}

impl Fixture {
    async fn create_key(&self) -> Value {
        self.server.create_key(&self.alice, &[]).await
    }

    async fn verify(&self, key: &Value) {
        assert_eq!(self.server.verify_code(&self.gateway, secret(key)).await, "VALID");
    }

    /// Waits until a write has finished; the next one begins two seconds later. Adds one to the counts.
    async fn wait_for_write(&self) {
        let (decoy, before) = (self.create_key().await, total_count(&self.server).await);
        self.verify(&decoy).await;
        let written = async || (total_count(&self.server).await > before).then_some(());
        eventually(Duration::from_secs(10), "a first use that is written", written).await;
    }
}

#[tokio::test]
async fn usage_failed_write_is_retried_once() {
    let fixture = fixture().await;
    let key = fixture.create_key().await;
    let other = fixture.server.lock().await;
    for _ in 0..5 {
        fixture.verify(&key).await;
    }
    wait_for_failed_write(&fixture.server).await;
    fixture.verify(&key).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(total_after_shutdown(fixture.server).await, 6);
}

#[tokio::test]
async fn usage_replaces_last_use_that_is_in_the_future() {
    let mut fixture = fixture().await;
    let key = fixture.create_key().await;
    fixture.verify(&key).await;
    let server = &mut fixture.server;
    let written = async || (server.count("secret_last_used").await == 1).then_some(());
    eventually(Duration::from_secs(30), "the first use is written", written).await;
    server.execute("UPDATE secret_last_used SET last_used_at = '2999-01-01T00:00:00+00:00'").await;
    const AHEAD: &str = "secret_last_used WHERE last_used_at > '2900-01-01T00:00:00+00:00'";
    assert_eq!(server.count(AHEAD).await, 1);
    assert_eq!(server.verify_code(&fixture.gateway, secret(&key)).await, "VALID");
    assert!(server.terminate().success(), "{}", server.log());
    assert_eq!(server.count(AHEAD).await, 0);
}

/// After a change, the counts of the old and the new cache entry of the key are both pending.
#[tokio::test]
async fn usage_counts_survive_change_of_key() {
    let fixture = fixture().await;
    let key = fixture.create_key().await;
    fixture.wait_for_write().await;
    for name in ["one", "two", "three"] {
        fixture.verify(&key).await;
        let patch = json!({ "name": name });
        assert_eq!(fixture.server.patch(id(&key), &fixture.alice, patch).await.status, 200);
    }
    fixture.verify(&key).await;
    let other = fixture.server.lock().await;
    wait_for_failed_write(&fixture.server).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(total_after_shutdown(fixture.server).await, 1 + 4);
}

#[tokio::test]
async fn usage_of_many_keys_survives_failed_write() {
    const KEYS: i64 = 1100;
    let fixture = scene_on(Server::start_with(&["--max-keys-per-owner", "2000"]));
    let (client, url) = (reqwest::Client::new(), format!("{}{VERIFY}", fixture.server.url));
    let mut keys = Vec::new();
    for _ in 0..KEYS / 50 {
        keys.extend(join_all((0..50).map(|_| fixture.create_key())).await);
    }
    fixture.wait_for_write().await;
    let other = fixture.server.lock().await;
    for some in keys.chunks(50) {
        // Over open connections, so that all keys are verified before the next write.
        let verify = |key: &Value| client.post(&url).bearer_auth(&fixture.gateway).json(&json!({ "key": secret(key) }));
        let responses = join_all(some.iter().map(|key| Response::to(verify(key)))).await;
        assert!(responses.iter().all(|response| response.body["code"] == "VALID"));
    }
    wait_for_failed_write(&fixture.server).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(total_after_shutdown(fixture.server).await, 1 + KEYS);
}

#[tokio::test]
async fn usage_of_uncached_key_is_written_once_a_minute() {
    let fixture = scene_on(Server::start_with(&["--cache-size", "0"]));
    let keys = [fixture.create_key().await, fixture.create_key().await];
    for key in &keys {
        fixture.verify(key).await;
    }
    let written = async || (total_count(&fixture.server).await == 2).then_some(());
    eventually(Duration::from_secs(10), "first uses that are written", written).await;
    for key in keys.iter().cycle().take(20) {
        fixture.verify(key).await;
    }
    fixture.wait_for_write().await;
    assert_eq!(total_count(&fixture.server).await, 2 + 1, "before the minute is over");
    assert_eq!(total_after_shutdown(fixture.server).await, 2 + 1 + 20);
}

/// The shutdown begins while a write waits for the lock.
#[tokio::test]
async fn usage_write_in_progress_at_shutdown_is_kept() {
    let mut fixture = fixture().await;
    let key = fixture.create_key().await;
    fixture.wait_for_write().await;
    let other = fixture.server.lock().await;
    for _ in 0..7 {
        fixture.verify(&key).await;
    }
    // The next write begins two seconds after the last, and waits for the lock for 1.5 s.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    fixture.server.sigterm();
    fixture.server.wait_for_log(&["SIGTERM"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    let status = fixture.server.exit_within(Duration::from_secs(15)).expect("the server ends");
    assert!(status.success(), "{}", fixture.server.log());
    assert_eq!(total_count(&fixture.server).await, 1 + 7);
}

#[tokio::test]
async fn usage_of_deleted_key_loses_no_other_counts() {
    let fixture = fixture().await;
    let (gone, stays) = (fixture.create_key().await, fixture.create_key().await);
    for key in [&gone, &stays] {
        fixture.verify(key).await;
    }
    assert_eq!(fixture.server.delete(id(&gone), &fixture.alice).await.status, 204);
    assert_eq!(fixture.server.verify_code(&fixture.gateway, secret(&gone)).await, "REVOKED");
    assert_eq!(total_after_shutdown(fixture.server).await, 3);
}
