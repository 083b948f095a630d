//! Signals: SIGHUP ends nothing, and a second SIGTERM ends what the first one waits for.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::json;

use crate::support::Server;
use crate::wire;

#[tokio::test]
async fn sighup_without_certificate_is_logged_and_ends_nothing() {
    let server = Server::start();
    let token = server.token("alice");
    server.sighup();
    server.wait_for_log(&["INFO", "received SIGHUP", "no TLS certificate"]);
    assert_eq!(server.create(&token, json!({ "name": "x" })).await.status, 201);
    assert_eq!(server.counts().await, [1, 1, 1]);
}

#[test]
fn second_sigterm_ends_the_process_at_once() {
    let mut server = Server::start_with(&["--shutdown-timeout", "1h", "--request-timeout", "1h"]);
    let mut stream = wire::connect(&server);
    let head = format!("{}Expect: 100-continue\r\nContent-Length: 10\r\n\r\n", wire::head("x"));
    stream.write_all(head.as_bytes()).unwrap();
    // The response to the expectation says that the server waits for the body.
    stream.read_exact(&mut [0; 25]).unwrap();
    server.sigterm();
    server.wait_for_log(&["received SIGTERM; draining"]);
    assert!(server.exit_within(Duration::from_millis(200)).is_none(), "it waits for the request");
    server.sigterm();
    let status = server.exit_within(Duration::from_secs(60)).expect("the process ends");
    assert_eq!(status.code(), Some(1));
    server.wait_for_log(&["WARN", "received SIGTERM while draining"]);
}
