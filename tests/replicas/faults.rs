//! Faults: PostgreSQL stops, freezes or is locked, or the network blocks. Cached keys are verified up to the staleness
//! limit, every other request gets a 503 in time, and the service recovers by itself.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::cluster::{Cluster, assert_unavailable, tokens};
use crate::proxy::{Link, Proxy};
use crate::support::{Server, eventually, id, secret};

struct Fixture {
    server: Server,
    gateway: String,
    alice: String,
    warm: Value,
    cold: Value,
    others: Vec<Value>,
}

impl Fixture {
    async fn of(server: Server) -> Self {
        let (gateway, alice) = tokens(&server);
        let (warm, cold) = (
            server.create_key_from(&alice, json!({ "name": "warm" })).await,
            server.create_key_from(&alice, json!({ "name": "cold" })).await,
        );
        let mut others = Vec::new();
        for _ in 0..30 {
            others.push(server.create_key_from(&alice, json!({ "name": "other" })).await);
        }
        assert_eq!(server.verify_code(&gateway, secret(&warm)).await, "VALID");
        Self { server, gateway, alice, warm, cold, others }
    }

    async fn assert_outage(&self) {
        let create = async || {
            let started = Instant::now();
            assert_unavailable(&self.server.create(&self.alice, json!({ "name": "x" })).await, started);
        };
        let verify = async |key: &str| {
            let started = Instant::now();
            assert_unavailable(&self.server.verify(&self.gateway, json!({ "key": key })).await, started);
        };
        create().await;
        verify(secret(&self.cold)).await;
        // So many that most of them wait for others.
        let creates = join_all((0..30).map(|n| async move {
            tokio::time::sleep(Duration::from_millis(20 * n)).await;
            create().await;
        }));
        let verifies = join_all(self.others.iter().zip(0..).map(|(other, n)| async move {
            tokio::time::sleep(Duration::from_millis(20 * n)).await;
            verify(secret(other)).await;
        }));
        tokio::join!(creates, verifies);
        for _ in 0..20 {
            assert_eq!(self.server.verify_code(&self.gateway, secret(&self.warm)).await, "VALID");
        }
    }

    async fn assert_cached_key_verifies_for(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let started = Instant::now();
            assert_eq!(self.server.verify_code(&self.gateway, secret(&self.warm)).await, "VALID");
            assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn assert_recovers(&self) {
        let created =
            async || (self.server.create(&self.alice, json!({ "name": "y" })).await.status == 201).then_some(());
        eventually(Duration::from_secs(10), "a create", created).await;
        let verified = async || {
            let response = self.server.verify(&self.gateway, json!({ "key": secret(&self.cold) })).await;
            (response.status == 200 && response.body["code"] == "VALID").then_some(())
        };
        eventually(Duration::from_secs(10), "a verify", verified).await;
        let warm = &self.warm;
        let revoked = async || {
            let response = self.server.revoke(id(warm), &self.alice, Value::Null).await;
            (response.status == 200).then_some(())
        };
        eventually(Duration::from_secs(5), "a revocation", revoked).await;
        assert_eq!(self.server.verify_code(&self.gateway, secret(warm)).await, "REVOKED");
    }
}

#[tokio::test]
async fn stopped_postgresql_is_503_and_cached_keys_are_verified() {
    let cluster = Cluster::with_own_postgres();
    let fixture = Fixture::of(cluster.replica(&["--cache-ttl", "1s"])).await;
    cluster.postgres.stop_immediately();
    assert_eq!(fixture.server.get("/readyz", "").await.status, 200);
    fixture.assert_outage().await;
    fixture.assert_cached_key_verifies_for(Duration::from_secs(3)).await;
    assert_eq!(fixture.server.get("/readyz", "").await.status, 200);
    let changes = fixture.server.get("/readyz?for=changes", "").await;
    assert!(changes.assert_problem(503).contains("store is unreachable"), "{}", changes.text);
    cluster.postgres.start_again();
    fixture.assert_recovers().await;
    assert_eq!(cluster.query("SELECT count(*) FROM api_keys WHERE name = 'x'"), "0");
}

#[tokio::test]
async fn stopped_postgresql_is_bridged_no_longer_than_the_limit() {
    let cluster = Cluster::with_own_postgres();
    let fixture = Fixture::of(cluster.replica(&["--max-staleness", "5s"])).await;
    cluster.postgres.stop_immediately();
    let stopped = Instant::now();
    fixture.assert_cached_key_verifies_for(Duration::from_secs(4)).await;
    let unavailable = async || {
        let response = fixture.server.verify(&fixture.gateway, json!({ "key": secret(&fixture.warm) })).await;
        (response.status == 503).then_some(())
    };
    eventually(Duration::from_secs(4), "an outage", unavailable).await;
    let readiness = fixture.server.get("/readyz", "").await;
    assert!(readiness.assert_problem(503).contains("no cached key may be used"), "{}", readiness.text);
    assert!(stopped.elapsed() < Duration::from_secs(8), "{:?}", stopped.elapsed());
    cluster.postgres.start_again();
    fixture.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_network_is_503_and_cached_keys_are_verified() {
    let cluster = Cluster::new();
    let proxy = Proxy::to(cluster.postgres.port).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, cluster.database);
    let fixture = Fixture::of(cluster.replica_with_url(&url, &[])).await;
    for _ in 0..2 {
        proxy.set(Link::Blocked);
        fixture.assert_outage().await;
        fixture.assert_cached_key_verifies_for(Duration::from_secs(4)).await;
        proxy.set(Link::Open);
        let created =
            async || (fixture.server.create(&fixture.alice, json!({ "name": "y" })).await.status == 201).then_some(());
        eventually(Duration::from_secs(10), "a create", created).await;
        // The cache is invalidated when the change feed reconnects, and then loaded again.
        fixture.assert_cached_key_verifies_for(Duration::from_secs(3)).await;
    }
    fixture.assert_recovers().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_transaction_loses_no_later_create() {
    let cluster = Cluster::new();
    let proxy = Proxy::to(cluster.postgres.port).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, cluster.database);
    let server = cluster.replica_with_url(&url, &["--database-connections", "2"]);
    let alice = server.token("alice");
    let key = server.create_key_from(&alice, json!({ "name": "before" })).await;
    proxy.set(Link::Blocked);
    // Its BEGIN arrives after the request was given up.
    let started = Instant::now();
    assert_unavailable(&server.patch(id(&key), &alice, json!({ "name": "given up" })).await, started);
    proxy.set(Link::Open);
    for _ in 0..10 {
        let created = async || (server.create(&alice, json!({ "name": "after" })).await.status == 201).then_some(());
        eventually(Duration::from_secs(10), "a create", created).await;
    }
    assert_eq!(cluster.query("SELECT name, count(*) FROM api_keys GROUP BY name ORDER BY name"), "after|10\nbefore|1");
}

#[tokio::test]
async fn frozen_postgresql_is_503_and_cached_keys_are_verified() {
    let cluster = Cluster::with_own_postgres();
    let fixture = Fixture::of(cluster.replica(&[])).await;
    let lag = async || {
        let scrape = fixture.server.get("/metrics", "").await.text;
        let lag = scrape.lines().find_map(|line| line.strip_prefix("mintkey_revocation_lag_seconds "));
        lag.unwrap().parse::<f64>().unwrap()
    };
    eventually(Duration::from_secs(5), "a measured lag", async || (0.0..1.0).contains(&lag().await).then_some(()))
        .await;
    cluster.postgres.freeze(true);
    fixture.assert_outage().await;
    fixture.assert_cached_key_verifies_for(Duration::from_secs(4)).await;
    assert!(lag().await > 4.0);
    assert_eq!(fixture.server.get("/readyz", "").await.status, 200);
    let changes = fixture.server.get("/readyz?for=changes", "").await;
    assert!(changes.assert_problem(503).contains("store is unreachable"), "{}", changes.text);
    cluster.postgres.freeze(false);
    fixture.assert_recovers().await;
    eventually(Duration::from_secs(5), "a lag as before", async || (lag().await < 1.0).then_some(())).await;
    let ready = async || (fixture.server.get("/readyz?for=changes", "").await.status == 200).then_some(());
    eventually(Duration::from_secs(10), "readiness for changes", ready).await;
}

#[tokio::test]
async fn terminated_connections_are_replaced() {
    let cluster = Cluster::new();
    let fixture = Fixture::of(cluster.replica(&[])).await;
    for _ in 0..5 {
        cluster.terminate("true");
        // At most one request fails per open connection.
        let created =
            async || (fixture.server.create(&fixture.alice, json!({ "name": "y" })).await.status == 201).then_some(());
        eventually(Duration::from_secs(5), "a create", created).await;
    }
    fixture.assert_recovers().await;
    assert!(!fixture.server.log().contains("ERROR"), "{}", fixture.server.log());
}

#[tokio::test]
async fn locked_table_is_503_until_released() {
    let cluster = Cluster::new();
    let fixture = Fixture::of(cluster.replica(&[])).await;
    let mut holder =
        cluster.postgres.psql(&cluster.database, "BEGIN; LOCK TABLE api_keys; SELECT pg_sleep(4); ROLLBACK");
    let mut holder = holder.spawn().unwrap();
    let locked = async || {
        let held =
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'api_keys'::regclass";
        (cluster.query(held) == "1").then_some(())
    };
    eventually(Duration::from_secs(5), "a lock", locked).await;
    let started = Instant::now();
    assert_unavailable(&fixture.server.create(&fixture.alice, json!({ "name": "x" })).await, started);
    assert_eq!(fixture.server.verify_code(&fixture.gateway, secret(&fixture.warm)).await, "VALID");
    assert!(holder.wait().unwrap().success());
    fixture.assert_recovers().await;
}
