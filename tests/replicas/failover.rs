//! Failover: a standby is not used, read-only sessions are replaced, and a restart of PostgreSQL costs no request.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::cluster::{Cluster, tokens, wait_for_code};
use crate::proxy::Proxy;
use crate::support::doctor::{assert_fails, assert_passes, run_doctor};
use crate::support::{Server, eventually, id, run, secret};

async fn wait_for_create(server: &Server, credential: &str, status: u16) {
    let created = async || (server.create(credential, json!({ "name": "k" })).await.status == status).then_some(());
    eventually(Duration::from_secs(20), "a create", created).await;
}

/// Replication is paused before the revocation, so that the standby still has the key as valid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standby_is_503_until_promoted() {
    let cluster = Cluster::with_own_postgres();
    let proxy = Proxy::to(cluster.postgres.port).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, cluster.database);
    let server = cluster.replica_with_url(&url, &["--max-staleness", "1s"]);
    let (gateway, alice) = tokens(&server);
    let key = server.create_key(&alice, &[]).await;
    let standby = cluster.postgres.start_standby();
    let has_key = async || {
        let found = run(&mut standby.psql(&cluster.database, "SELECT count(*) FROM api_keys"));
        (String::from_utf8(found.stdout).unwrap().trim() == "1").then_some(())
    };
    eventually(Duration::from_secs(20), "the key at the standby", has_key).await;
    standby.query("postgres", "SELECT pg_wal_replay_pause()");
    assert_eq!(server.revoke(id(&key), &alice, Value::Null).await.status, 200);

    proxy.route_to(standby.port);
    cluster.terminate("true");
    let refused = async || {
        let response = server.get("/readyz", "").await;
        (response.status == 503 && response.text.contains("is a standby in recovery")).then_some(())
    };
    eventually(Duration::from_secs(10), "a standby in /readyz", refused).await;
    for _ in 0..3 {
        let response = server.verify(&gateway, json!({ "key": secret(&key) })).await;
        assert_eq!(response.status, 503, "{}", response.text);
    }
    server.create(&alice, json!({ "name": "k" })).await.assert_problem(503);
    let url = standby.url(&cluster.database);
    let mut doctor = cluster.command(&["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]);
    std::fs::set_permissions(cluster.data.path(), Permissions::from_mode(0o700)).unwrap();
    assert_fails(&run_doctor(doctor.env("MINTKEY_DATABASE_URL", &url)), "database", &["standby", "give the primary"]);
    let migrated = run(cluster.command(&["migrate"]).env("MINTKEY_DATABASE_URL", &url));
    let stderr = String::from_utf8(migrated.stderr).unwrap();
    assert!(!migrated.status.success() && stderr.contains("standby"), "{stderr}");

    standby.query("postgres", "SELECT pg_wal_replay_resume()");
    standby.query("postgres", "SELECT pg_promote()");
    wait_for_create(&server, &alice, 201).await;
    wait_for_code(&server, &gateway, secret(&key), "REVOKED", Instant::now()).await;
    assert_passes(&run_doctor(&mut doctor), "database", &["up to date"]);
}

#[tokio::test]
async fn read_only_sessions_are_replaced_when_writes_return() {
    let cluster = Cluster::new();
    let server = cluster.replica(&[]);
    let (gateway, alice) = tokens(&server);
    let key = server.create_key(&alice, &[]).await;
    let set = |value: &str| {
        let sql = format!("ALTER DATABASE {} SET default_transaction_read_only = {value}", cluster.database);
        cluster.postgres.query("postgres", &sql);
    };
    set("on");
    cluster.terminate("true");
    wait_for_create(&server, &alice, 503).await;
    wait_for_code(&server, &gateway, secret(&key), "VALID", Instant::now()).await;
    let detail = "takes no changes: it is read-only";
    assert!(server.create(&alice, json!({ "name": "k" })).await.assert_problem(503).contains(detail));
    let reported = async || {
        let response = server.get("/readyz?for=changes", "").await;
        (response.status == 503 && response.assert_problem(503).contains(detail)).then_some(())
    };
    eventually(Duration::from_secs(10), "no changes in /readyz", reported).await;
    let verifications = server.get("/readyz", "").await;
    assert!(verifications.status == 200 && verifications.text.contains(detail), "{}", verifications.text);
    assert!(server.get("/metrics", "").await.text.contains("mintkey_store_writable 0\n"));
    std::fs::set_permissions(cluster.data.path(), Permissions::from_mode(0o700)).unwrap();
    let mut doctor = cluster.command(&["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]);
    assert_fails(&run_doctor(&mut doctor), "database", &["takes no writes", "default_transaction_read_only"]);
    set("off");
    wait_for_create(&server, &alice, 201).await;
    for _ in 0..20 {
        server.create_key(&alice, &[]).await;
    }
    let ready = async || (server.get("/readyz?for=changes", "").await.status == 200).then_some(());
    eventually(Duration::from_secs(10), "readiness for changes", ready).await;
    assert!(server.get("/metrics", "").await.text.contains("mintkey_store_writable 1\n"));
    assert_passes(&run_doctor(&mut doctor), "database", &["up to date"]);
}

#[tokio::test]
async fn verify_after_restart_of_postgresql_is_no_503() {
    let cluster = Cluster::with_own_postgres();
    let server = cluster.replica(&[]);
    let (gateway, alice) = tokens(&server);
    // At once, so that the pool has many connections.
    let keys = join_all((0..60).map(|n| server.create_key_from(&alice, json!({ "name": format!("k{n}") })))).await;
    let lists = join_all((0..20).map(|_| server.get(crate::support::KEYS, &alice))).await;
    assert!(lists.iter().all(|list| list.status == 200));
    cluster.postgres.stop_immediately();
    cluster.postgres.start_again();
    let codes = join_all(keys.iter().map(|key| server.verify(&gateway, json!({ "key": secret(key) })))).await;
    for code in codes {
        assert_eq!((code.status.as_u16(), &code.body["code"]), (200, &json!("VALID")), "{}", code.text);
    }
    for _ in 0..20 {
        server.create_key(&alice, &[]).await;
    }
}

#[tokio::test]
async fn verify_after_end_of_pooled_connections_is_no_503() {
    let cluster = Cluster::new();
    let server = cluster.replica(&[]);
    let (gateway, alice) = tokens(&server);
    let keys = join_all((0..40).map(|n| server.create_key_from(&alice, json!({ "name": format!("k{n}") })))).await;
    for key in keys {
        // The listening connection stays.
        cluster.terminate("query NOT LIKE '%mintkey_heartbeat%'");
        assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    }
}
