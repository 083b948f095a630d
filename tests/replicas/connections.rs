//! Connections: a replica has no more of them than configured, and uses those that it can have.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::cluster::{Cluster, assert_unavailable, tokens};
use crate::support::{KEYS, eventually, id, secret};

/// The sessions of replicas at the server.
fn sessions(cluster: &Cluster) -> usize {
    let query =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'mintkey'";
    cluster.query(query).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_with_few_connections_gets_every_response() {
    let cluster = Cluster::new();
    let (role, database) = (format!("few_{}", cluster.database), &cluster.database);
    cluster.query(&format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 5"));
    cluster.query(&format!("ALTER DATABASE {database} OWNER TO {role}"));
    let url = cluster.postgres.url(database).replace("postgres@", &format!("{role}@"));
    let server = cluster.replica_with_url(&url, &[]);
    let (gateway, alice) = tokens(&server);
    let keys = join_all((0..12).map(|_| server.create_key(&alice, &[]))).await;
    for round in 0..10 {
        let reads = keys.iter().map(async |key| {
            let path = if round % 2 == 0 { format!("{KEYS}{}", id(key)) } else { KEYS.to_owned() };
            let read = server.get(&path, &alice).await;
            assert_eq!(read.status, 200, "{}", read.text);
            assert_eq!(server.patch(id(key), &alice, json!({ "name": format!("r{round}") })).await.status, 200);
        });
        join_all(reads).await;
    }
    let verified = keys.iter().map(async |key| assert_eq!(server.verify_code(&gateway, secret(key)).await, "VALID"));
    join_all(verified).await;
    assert_eq!(server.get("/readyz", "").await.status, 200);
    assert!((2..=5).contains(&sessions(&cluster)), "{}", sessions(&cluster));
}

/// `statement_timeout` does not end a commit that waits for a standby, and neither does a client that left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_without_their_standby_keep_their_connections() {
    let cluster = Cluster::with_own_postgres();
    let server = cluster.replica(&["--database-connections", "8", "--cache-ttl", "1s"]);
    let (gateway, alice) = tokens(&server);
    let keys = join_all((0..30).map(|_| server.create_key(&alice, &[]))).await;
    let synchronous = |standby: &str| {
        cluster.query(&format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'"));
        cluster.query("SELECT pg_reload_conf()");
        // A session reads the setting before its next statement.
        std::thread::sleep(Duration::from_millis(300));
    };
    synchronous("missing");
    let (started, mut most) = (Instant::now(), 0);
    // Longer than any other statement can last.
    while started.elapsed() < Duration::from_secs(12) {
        let creates = join_all((0..10).map(async |_| {
            let sent = Instant::now();
            assert_unavailable(&server.create(&alice, json!({ "name": "waits" })).await, sent);
        }));
        let reads = async {
            for key in &keys {
                assert_eq!(server.verify_code(&gateway, secret(key)).await, "VALID");
                let read = server.get(&format!("{KEYS}{}", id(key)), &alice).await;
                assert_eq!(read.status, 200, "{}", read.text);
                assert_eq!(server.get(KEYS, &alice).await.status, 200);
            }
            let ready = server.get("/readyz", "").await;
            assert_eq!(ready.status, 200, "{}", ready.text);
        };
        tokio::join!(creates, reads);
        most = most.max(sessions(&cluster));
    }
    assert!((3..=9).contains(&most), "{most} sessions");
    synchronous("");
    let revoked = async || {
        let revoked = server.revoke(id(&keys[0]), &alice, Value::Null).await;
        (revoked.status == 200).then_some(())
    };
    eventually(Duration::from_secs(10), "a change", revoked).await;
    assert_eq!(server.verify_code(&gateway, secret(&keys[0])).await, "REVOKED");
    assert!(sessions(&cluster) <= 9, "{} sessions", sessions(&cluster));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_do_not_wait_for_locked_changes() {
    let cluster = Cluster::new();
    let server = cluster.replica(&["--database-connections", "4", "--cache-ttl", "1s"]);
    let (gateway, alice) = tokens(&server);
    let keys = join_all((0..20).map(|_| server.create_key(&alice, &[]))).await;
    let lock = "BEGIN; LOCK TABLE key_change_events IN EXCLUSIVE MODE; SELECT pg_sleep(5)";
    let mut locker = cluster.postgres.psql(&cluster.database, lock).spawn().unwrap();
    let waits = async || {
        let held =
            "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'key_change_events'::regclass";
        (cluster.query(held) == "1").then_some(())
    };
    eventually(Duration::from_secs(20), "the lock", waits).await;
    let changes = join_all(keys.iter().map(async |key| {
        server.revoke(id(key), &alice, Value::Null).await.assert_problem(503);
    }));
    let lookups = async {
        for key in &keys {
            assert_eq!(server.verify_code(&gateway, secret(key)).await, "VALID");
            assert_eq!(server.get("/readyz", "").await.status, 200);
        }
    };
    tokio::join!(changes, lookups);
    assert!(locker.wait().unwrap().success());
}
