//! Change feed: a change made at one replica takes effect at the others, also when notifications are lost.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, LISTENING, tokens, wait_for_code};
use crate::proxy::{Link, Proxy};
use crate::support::{Server, id, run, secret};

/// The bound on the lag of a revocation while the database is reachable.
const MAX_LAG: Duration = Duration::from_secs(5);

/// Creates keys and verifies them at every replica, so that all have them cached.
async fn cached_keys(servers: &[&Server], gateway: &str, alice: &str, count: usize) -> Vec<Value> {
    let mut keys = Vec::new();
    for _ in 0..count {
        let key = servers[0].create_key(alice, &["a"]).await;
        for server in servers {
            assert_eq!(server.verify_code(gateway, secret(&key)).await, "VALID");
        }
        keys.push(key);
    }
    keys
}

/// Half of them, because the others wait for a busy machine. Without notifications it takes three seconds.
#[tokio::test]
async fn half_of_revocations_reach_other_replica_within_a_second() {
    let cluster = Cluster::new();
    let (here, there) = (cluster.replica(&[]), cluster.replica(&[]));
    let (gateway, alice) = tokens(&here);
    let mut lags = Vec::new();
    for key in cached_keys(&[&here, &there], &gateway, &alice, 60).await {
        assert_eq!(here.revoke(id(&key), &alice, Value::Null).await.status, 200);
        lags.push(wait_for_code(&there, &gateway, secret(&key), "REVOKED", Instant::now()).await);
    }
    lags.sort_unstable();
    println!("lags: median {:?}, 54th of 60 {:?}, longest {:?}", lags[29], lags[53], lags[59]);
    // Each lag includes a whole verification over a new connection.
    assert!(lags[29] < Duration::from_secs(1), "{lags:?}");
}

#[tokio::test]
async fn every_kind_of_change_reaches_other_replica() {
    let cluster = Cluster::new();
    let (here, there) = (cluster.replica(&[]), cluster.replica(&[]));
    let (gateway, alice) = tokens(&here);
    let keys = cached_keys(&[&here, &there], &gateway, &alice, 5).await;
    let [rotated, deleted, disabled, revoked, of_filter] = &keys[..] else { panic!() };
    let admin = here.token_with("admin", &["--scopes", "api-keys:admin"]);
    let now = Instant::now();
    assert_eq!(here.rotate(id(rotated), &alice, json!({ "grace_seconds": 0 })).await.status, 201);
    wait_for_code(&there, &gateway, secret(rotated), "EXPIRED", now).await;
    assert_eq!(here.delete(id(deleted), &alice).await.status, 204);
    wait_for_code(&there, &gateway, secret(deleted), "REVOKED", now).await;
    assert_eq!(here.patch(id(disabled), &alice, json!({ "enabled": false })).await.status, 200);
    wait_for_code(&there, &gateway, secret(disabled), "DISABLED", now).await;
    assert_eq!(here.patch(id(disabled), &alice, json!({ "enabled": true })).await.status, 200);
    wait_for_code(&there, &gateway, secret(disabled), "VALID", now).await;
    assert!(run(&mut cluster.command(&["keys", "revoke", id(revoked)])).status.success());
    wait_for_code(&there, &gateway, secret(revoked), "REVOKED", now).await;
    let path = "/api/admin/api-keys/revoke";
    let response = here.call(reqwest::Method::POST, path, &admin, json!({ "subject": "alice" })).await;
    assert_eq!(response.status, 202, "{}", response.text);
    wait_for_code(&there, &gateway, secret(of_filter), "REVOKED", now).await;
}

#[tokio::test]
async fn change_by_hand_is_received_after_notify() {
    let cluster = Cluster::new();
    let server = cluster.replica(&[]);
    let (gateway, alice) = tokens(&server);
    let keys = cached_keys(&[&server], &gateway, &alice, 1).await;
    cluster.query("BEGIN; UPDATE api_keys SET enabled = false; NOTIFY mintkey_changes; COMMIT");
    assert!(
        wait_for_code(&server, &gateway, secret(&keys[0]), "DISABLED", Instant::now()).await < Duration::from_secs(2)
    );
}

#[tokio::test]
async fn revocation_arrives_in_time_when_listener_is_killed() {
    let cluster = Cluster::new();
    let (here, there) = (cluster.replica(&[]), cluster.replica(&[]));
    let (gateway, alice) = tokens(&here);
    for key in cached_keys(&[&here, &there], &gateway, &alice, 10).await {
        cluster.terminate(LISTENING);
        assert_eq!(here.revoke(id(&key), &alice, Value::Null).await.status, 200);
        let lag = wait_for_code(&there, &gateway, secret(&key), "REVOKED", Instant::now()).await;
        assert!(lag < MAX_LAG, "{lag:?}");
    }
    there.wait_for_log(&["WARN", "change feed disconnected"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_arrives_in_time_when_notifications_are_lost() {
    let cluster = Cluster::new();
    let proxy = Proxy::to(cluster.postgres.port).await;
    let here = cluster.replica(&[]);
    let url = format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, cluster.database);
    let there = cluster.replica_with_url(&url, &[]);
    let (gateway, alice) = tokens(&here);
    let keys = cached_keys(&[&here, &there], &gateway, &alice, 10).await;
    proxy.set(Link::NoNotifications);
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(here.revoke(id(key), &alice, Value::Null).await.status, 200);
        let lag = wait_for_code(&there, &gateway, secret(key), "REVOKED", Instant::now()).await;
        assert!(lag < MAX_LAG, "{lag:?}");
        if number == 5 {
            proxy.set(Link::Open);
        }
    }
    // A replica without notifications reads from the database at every verification.
    let other = here.create_key(&alice, &[]).await;
    proxy.set(Link::NoNotifications);
    there.wait_for_log(&["change feed disconnected", "does not respond"]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    for enabled in [true, false, true, false] {
        assert_eq!(here.patch(id(&other), &alice, json!({ "enabled": enabled })).await.status, 200);
        let code = if enabled { "VALID" } else { "DISABLED" };
        assert_eq!(there.verify_code(&gateway, secret(&other)).await, code);
    }
}
