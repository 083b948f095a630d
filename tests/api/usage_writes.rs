//! Writes of usage: what was counted is written once, whatever happens to the store meanwhile.

use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use serde_json::{Value, json};

use crate::support::{Server, eventually, id, secret};

/// Another process that takes SQLite's write lock and keeps it.
async fn lock(server: &Server) -> DatabaseConnection {
    let mut options = ConnectOptions::new(format!("sqlite://{}", server.data.join("mintkey.db").display()));
    options.max_connections(1);
    let other = Database::connect(options).await.unwrap();
    other.execute_unprepared("PRAGMA busy_timeout = 10000").await.unwrap();
    other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    other
}

const WAITS: &str = "counts of use wait to be written";

/// Waits until this many more writes have failed.
async fn writes_failed(server: &Server, more: usize) {
    let failed = || server.log().matches(WAITS).count();
    let enough = failed() + more;
    eventually(Duration::from_secs(30), "writes that fail", async || (failed() >= enough).then_some(())).await;
}

/// All that was ever counted for these keys, once the server has ended.
async fn counted(mut server: Server) -> i64 {
    assert!(server.terminate().success(), "{}", server.log());
    server.rows("SELECT coalesce(sum(count), 0) AS n FROM key_usage").await[0].try_get("", "n").unwrap()
}

async fn scene() -> (Server, String, String) {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let alice = server.token("alice");
    (server, gateway, alice)
}

#[tokio::test]
async fn what_could_not_be_written_is_written_later_and_once() {
    let (server, gateway, alice) = scene().await;
    let key = server.key(&alice, json!({ "name": "k" })).await;
    let other = lock(&server).await;
    for _ in 0..5 {
        assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");
    }
    writes_failed(&server, 2).await;
    assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");
    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(counted(server).await, 6);
}

/// A change makes a second entry of the same key in memory, and both wait to be written.
#[tokio::test]
async fn counts_of_a_key_before_and_after_a_change_are_not_mixed_up() {
    let (server, gateway, alice) = scene().await;
    let key = server.key(&alice, json!({ "name": "old" })).await;
    let other = lock(&server).await;
    let mut asked = 1;
    assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");
    other.execute_unprepared("UPDATE api_keys SET name = 'new'; COMMIT; BEGIN IMMEDIATE").await.unwrap();
    loop {
        asked += 1;
        if server.verify(&gateway, json!({ "key": secret(&key) })).await.body["name"] == "new" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(asked < 200, "the change is not seen");
    }
    writes_failed(&server, 3).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(counted(server).await, asked);
}

#[tokio::test]
async fn counts_of_more_keys_than_are_written_at_once_survive_a_write_that_fails() {
    const KEYS: i64 = 1100;
    let (server, gateway, alice) = scene().await;
    let mut keys = Vec::new();
    for _ in 0..KEYS / 50 {
        let made = (0..50).map(|_| server.key(&alice, json!({ "name": "k" })));
        keys.extend(futures_util::future::join_all(made).await);
    }
    let other = lock(&server).await;
    for some in keys.chunks(50) {
        let codes = some.iter().map(|key| server.code(&gateway, secret(key)));
        assert!(futures_util::future::join_all(codes).await.iter().all(|code| code == "VALID"));
    }
    writes_failed(&server, 2).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(counted(server).await, KEYS);
}

/// The write waits for the lock when the end comes.
#[tokio::test]
async fn a_write_in_hand_at_the_end_is_not_lost() {
    let (mut server, gateway, alice) = scene().await;
    let key = server.key(&alice, json!({ "name": "k" })).await;
    let other = lock(&server).await;
    for _ in 0..7 {
        assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");
    }
    // The next write begins within two seconds of the one that failed, and waits for 1.5.
    writes_failed(&server, 1).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    server.sigterm();
    server.log_line(&["SIGTERM"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    other.execute_unprepared("ROLLBACK").await.unwrap();
    let status = server.exit_within(Duration::from_secs(15)).expect("the server ends");
    assert!(status.success(), "{}", server.log());
    let rows = server.rows("SELECT coalesce(sum(count), 0) AS n FROM key_usage").await;
    assert_eq!(rows[0].try_get::<i64>("", "n").unwrap(), 7);
}

#[tokio::test]
async fn a_key_that_is_deleted_before_its_counts_are_written_takes_no_other_counts_with_it() {
    let (server, gateway, alice) = scene().await;
    let (gone, stays) =
        (server.key(&alice, json!({ "name": "gone" })).await, server.key(&alice, json!({ "name": "stays" })).await);
    for key in [&gone, &stays] {
        assert_eq!(server.code(&gateway, secret(key)).await, "VALID");
    }
    assert_eq!(server.delete(id(&gone), &alice).await.status, 204);
    let answer = server.verify(&gateway, json!({ "key": secret(&gone) })).await;
    assert_eq!(answer.body["code"], Value::from("REVOKED"));
    assert_eq!(counted(server).await, 3);
}
