//! Writes of usage: what was counted is written once, whatever happens to the store meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{Answer, Server, VERIFY, eventually, id, secret};

const WAITS: &str = "counts of use wait to be written";

/// Waits until a write has failed.
async fn a_write_failed(server: &Server) {
    let failed = async || server.log().contains(WAITS).then_some(());
    eventually(Duration::from_secs(30), "a write that fails", failed).await;
}

async fn sum(server: &Server) -> i64 {
    server.rows("SELECT CAST(coalesce(sum(count), 0) AS bigint) AS n FROM key_usage").await[0].try_get("", "n").unwrap()
}

/// All that was ever counted, once the server has ended.
async fn sum_at_the_end(mut server: Server) -> i64 {
    assert!(server.terminate().success(), "{}", server.log());
    sum(&server).await
}

struct Scene {
    server: Server,
    gateway: String,
    alice: String,
}

async fn scene() -> Scene {
    scene_on(Server::start())
}

fn scene_on(server: Server) -> Scene {
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let alice = server.token("alice");
    Scene { server, gateway, alice }
}

impl Scene {
    async fn key(&self) -> Value {
        self.server.key(&self.alice, json!({ "name": "k" })).await
    }

    async fn ask(&self, key: &Value) {
        assert_eq!(self.server.code(&self.gateway, secret(key)).await, "VALID");
    }

    /// Waits for a write to be over: the next one comes after two seconds. One is counted by it.
    async fn just_written(&self) {
        let (decoy, before) = (self.key().await, sum(&self.server).await);
        self.ask(&decoy).await;
        let written = async || (sum(&self.server).await > before).then_some(());
        eventually(Duration::from_secs(10), "a first use that is written", written).await;
    }
}

#[tokio::test]
async fn usage_failed_write_is_retried_once() {
    let scene = scene().await;
    let key = scene.key().await;
    let other = scene.server.lock().await;
    for _ in 0..5 {
        scene.ask(&key).await;
    }
    a_write_failed(&scene.server).await;
    scene.ask(&key).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(sum_at_the_end(scene.server).await, 6);
}

/// A change makes a second entry of the same key in memory, and both wait to be written.
#[tokio::test]
async fn usage_counts_survive_change_of_key() {
    let scene = scene().await;
    let key = scene.key().await;
    scene.just_written().await;
    for name in ["one", "two", "three"] {
        scene.ask(&key).await;
        let patch = json!({ "name": name });
        assert_eq!(scene.server.patch(id(&key), &scene.alice, patch).await.status, 200);
    }
    scene.ask(&key).await;
    let other = scene.server.lock().await;
    a_write_failed(&scene.server).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(sum_at_the_end(scene.server).await, 1 + 4);
}

#[tokio::test]
async fn usage_of_many_keys_survives_failed_write() {
    const KEYS: i64 = 1100;
    let scene = scene().await;
    let (client, url) = (reqwest::Client::new(), format!("{}{VERIFY}", scene.server.url));
    let mut keys = Vec::new();
    for _ in 0..KEYS / 50 {
        keys.extend(join_all((0..50).map(|_| scene.key())).await);
    }
    scene.just_written().await;
    let other = scene.server.lock().await;
    for some in keys.chunks(50) {
        // Over connections that are kept, so that all are asked about before the next write.
        let ask = |key: &Value| client.post(&url).bearer_auth(&scene.gateway).json(&json!({ "key": secret(key) }));
        let answers = join_all(some.iter().map(|key| Answer::of(ask(key)))).await;
        assert!(answers.iter().all(|answer| answer.body["code"] == "VALID"));
    }
    a_write_failed(&scene.server).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(sum_at_the_end(scene.server).await, 1 + KEYS);
}

#[tokio::test]
async fn usage_of_uncached_key_is_written_once_a_minute() {
    let scene = scene_on(Server::with(&["--cache-entries", "1"]));
    let keys = [scene.key().await, scene.key().await];
    for key in &keys {
        scene.ask(key).await;
    }
    let written = async || (sum(&scene.server).await == 2).then_some(());
    eventually(Duration::from_secs(10), "first uses that are written", written).await;
    for key in keys.iter().cycle().take(20) {
        scene.ask(key).await;
    }
    scene.just_written().await;
    assert_eq!(sum(&scene.server).await, 2 + 1, "before the minute is over");
    assert_eq!(sum_at_the_end(scene.server).await, 2 + 1 + 20);
}

/// The write waits for the lock when the end comes.
#[tokio::test]
async fn usage_write_in_progress_at_shutdown_is_kept() {
    let mut scene = scene().await;
    let key = scene.key().await;
    scene.just_written().await;
    let other = scene.server.lock().await;
    for _ in 0..7 {
        scene.ask(&key).await;
    }
    // The next write begins two seconds after the last, and waits for one and a half.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    scene.server.sigterm();
    scene.server.log_line(&["SIGTERM"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    let status = scene.server.exit_within(Duration::from_secs(15)).expect("the server ends");
    assert!(status.success(), "{}", scene.server.log());
    assert_eq!(sum(&scene.server).await, 1 + 7);
}

#[tokio::test]
async fn usage_of_deleted_key_loses_no_other_counts() {
    let scene = scene().await;
    let (gone, stays) = (scene.key().await, scene.key().await);
    for key in [&gone, &stays] {
        scene.ask(key).await;
    }
    assert_eq!(scene.server.delete(id(&gone), &scene.alice).await.status, 204);
    assert_eq!(scene.server.code(&scene.gateway, secret(&gone)).await, "REVOKED");
    assert_eq!(sum_at_the_end(scene.server).await, 3);
}
