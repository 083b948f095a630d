//! Unread logs: standard error is a full pipe.

#![expect(clippy::await_holding_lock, reason = "the thread that waits for the lock runs no future")]

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::ops::metrics::Scrape;
use crate::support::{Server, secret};

const DROPPED: &str = "mintkey_log_lines_dropped_total";

/// Sends verifications, which write a line each, until lines are dropped.
async fn fill_log(server: &Server, token: &str, secret: &str) {
    for _ in 0..100 {
        for response in join_all((0..200).map(|_| server.verify(token, json!({ "key": secret })))).await {
            assert_eq!(response.body["code"], "VALID", "{response:?}");
        }
        if Scrape::of(server).await.value(DROPPED) > 0.0 {
            return;
        }
    }
    panic!("no line was dropped");
}

/// A server that logs each verification, the token of a verifier with a long name, and a key.
async fn talkative_server() -> (Server, String, Value) {
    let server = Server::start_with(&["--log-level", "debug"]);
    let token = server.token_with(&"a".repeat(200), &["--scopes", "api-keys:verify"]);
    let key = server.create_key(&token, &[]).await;
    (server, token, key)
}

#[tokio::test]
async fn log_that_is_not_read_blocks_no_request_and_no_shutdown() {
    let (mut server, token, key) = talkative_server().await;
    let gate = server.log_gate();
    let unread = gate.lock().unwrap();
    fill_log(&server, &token, secret(&key)).await;
    assert_eq!(server.get("/livez", "").await.status, 200);
    assert_eq!(server.create(&token, json!({ "name": "x" })).await.status, 201);
    server.sigterm();
    let status = server.exit_within(Duration::from_secs(60)).expect("SIGTERM ends the process");
    assert!(status.success(), "{status}");
    drop(unread);
}

#[tokio::test]
async fn log_that_is_read_again_says_how_many_lines_are_missing() {
    let (mut server, token, key) = talkative_server().await;
    let gate = server.log_gate();
    let unread = gate.lock().unwrap();
    fill_log(&server, &token, secret(&key)).await;
    let dropped = Scrape::of(&server).await.value(DROPPED);
    drop(unread);
    let line = server.wait_for_log(&["WARN", "log lines dropped"]);
    let reported: f64 = line.rsplit_once("dropped=").unwrap().1.trim().parse().unwrap();
    assert!(reported >= dropped, "{line}");
    assert!(server.terminate().success());
    server.wait_for_log(&["server stopped"]);
}
