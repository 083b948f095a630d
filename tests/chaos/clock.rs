//! Clock: the system clock jumps forward and back by a day.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, tokens, wait_for_code};
use crate::support::{Server, eventually, id, run, secret};

/// Starts a replica whose clock has the offset that the file contains.
fn with_clock(cluster: &Cluster, file: &Path) -> Server {
    let faketime = "/usr/$LIB/faketime/libfaketimeMT.so.1";
    assert!(
        run(std::process::Command::new("which").arg("faketime")).status.success(),
        "faketime is missing: run make tools"
    );
    let mut command = cluster.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("LD_PRELOAD", faketime).env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    Server::spawn(&mut command, cluster.data.path())
}

#[tokio::test]
async fn clock_jump_expires_only_keys_with_an_expiry() {
    let cluster = Cluster::new();
    let file = cluster.data.path().join("clock");
    std::fs::write(&file, "+0").unwrap();
    let (jumping, steady) = (with_clock(&cluster, &file), cluster.replica(&[]));
    let alice = steady.token_with("alice", &["--ttl", "7d"]);
    let (gateway, _) = tokens(&steady);
    let long = steady.token_with("gateway", &["--scopes", "api-keys:verify", "--ttl", "7d"]);
    let day = steady.create_key_from(&alice, json!({ "name": "day", "expires_in_seconds": 3600 })).await;
    let endless = steady.create_key_from(&alice, json!({ "name": "endless" })).await;
    for server in [&jumping, &steady] {
        assert_eq!(server.verify_code(&gateway, secret(&day)).await, "VALID");
        assert_eq!(server.verify_code(&gateway, secret(&endless)).await, "VALID");
    }

    std::fs::write(&file, "+1d").unwrap();
    let expired = async || (jumping.verify_code(&long, secret(&day)).await == "EXPIRED").then_some(());
    eventually(Duration::from_secs(3), "EXPIRED", expired).await;
    jumping.verify(&gateway, json!({ "key": secret(&day) })).await.assert_problem(401);
    assert_eq!(jumping.verify_code(&long, secret(&endless)).await, "VALID");
    assert_eq!(steady.verify_code(&gateway, secret(&day)).await, "VALID");
    let made = jumping.create_key_from(&alice, json!({ "name": "tomorrow" })).await;
    assert_eq!(steady.verify_code(&gateway, secret(&made)).await, "VALID");
    assert_eq!(jumping.revoke(id(&endless), &alice, Value::Null).await.status, 200);
    assert!(
        wait_for_code(&steady, &gateway, secret(&endless), "REVOKED", Instant::now()).await < Duration::from_secs(2)
    );

    std::fs::write(&file, "-1d").unwrap();
    let back = async || (jumping.verify_code(&long, secret(&day)).await == "VALID").then_some(());
    eventually(Duration::from_secs(3), "VALID", back).await;
    assert_eq!(jumping.verify_code(&long, secret(&endless)).await, "REVOKED");
    assert_eq!(steady.revoke(id(&made), &alice, Value::Null).await.status, 200);
    assert!(wait_for_code(&jumping, &long, secret(&made), "REVOKED", Instant::now()).await < Duration::from_secs(2));
    assert!(!jumping.log().contains("ERROR"), "{}", jumping.log());
}
