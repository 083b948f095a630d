//! Faults: PostgreSQL stops, is silent, or is full; what is in memory is verified within its limit, the rest is an
//! outage that is told in time, and everything works again by itself.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::proxy::{Proxy, Wire};
use crate::site::{Site, is_outage, tokens};
use crate::support::{Server, eventually, id, secret};

struct Scene {
    server: Server,
    gateway: String,
    alice: String,
    warm: Value,
    cold: Value,
    others: Vec<Value>,
}

impl Scene {
    async fn of(server: Server) -> Self {
        let (gateway, alice) = tokens(&server);
        let (warm, cold) =
            (server.key(&alice, json!({ "name": "warm" })).await, server.key(&alice, json!({ "name": "cold" })).await);
        let mut others = Vec::new();
        for _ in 0..30 {
            others.push(server.key(&alice, json!({ "name": "other" })).await);
        }
        assert_eq!(server.code(&gateway, secret(&warm)).await, "VALID");
        Self { server, gateway, alice, warm, cold, others }
    }

    async fn is_cut_off(&self) {
        let create = async || {
            let asked = Instant::now();
            is_outage(&self.server.create(&self.alice, json!({ "name": "x" })).await, asked);
        };
        let verify = async |key: &str| {
            let asked = Instant::now();
            is_outage(&self.server.verify(&self.gateway, json!({ "key": key })).await, asked);
        };
        create().await;
        verify(secret(&self.cold)).await;
        // Many, so that most wait behind others.
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
            assert_eq!(self.server.code(&self.gateway, secret(&self.warm)).await, "VALID");
        }
    }

    async fn warm_is_answered_at_once_for(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let asked = Instant::now();
            assert_eq!(self.server.code(&self.gateway, secret(&self.warm)).await, "VALID");
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn works_again(&self) {
        let made = async || (self.server.create(&self.alice, json!({ "name": "y" })).await.status == 201).then_some(());
        eventually(Duration::from_secs(10), "a create", made).await;
        let verified = async || {
            let answer = self.server.verify(&self.gateway, json!({ "key": secret(&self.cold) })).await;
            (answer.status == 200 && answer.body["code"] == "VALID").then_some(())
        };
        eventually(Duration::from_secs(10), "a verify", verified).await;
        let warm = &self.warm;
        let revoked = async || {
            let answer = self.server.revoke(id(warm), &self.alice, Value::Null).await;
            (answer.status == 200).then_some(())
        };
        eventually(Duration::from_secs(5), "a revocation", revoked).await;
        assert_eq!(self.server.code(&self.gateway, secret(warm)).await, "REVOKED");
    }
}

#[tokio::test]
async fn stopped_postgresql_is_503_and_cached_keys_are_verified() {
    let site = Site::alone();
    let scene = Scene::of(site.replica(&["--cache-ttl", "1s"])).await;
    site.postgres.stop_immediately();
    scene.is_cut_off().await;
    scene.warm_is_answered_at_once_for(Duration::from_secs(3)).await;
    site.postgres.start_again();
    scene.works_again().await;
    assert_eq!(site.query("SELECT count(*) FROM api_keys WHERE name = 'x'"), "0");
}

#[tokio::test]
async fn stopped_postgresql_is_bridged_no_longer_than_the_limit() {
    let site = Site::alone();
    let scene = Scene::of(site.replica(&["--max-staleness", "5s"])).await;
    site.postgres.stop_immediately();
    let stopped = Instant::now();
    scene.warm_is_answered_at_once_for(Duration::from_secs(4)).await;
    let refused = async || {
        let answer = scene.server.verify(&scene.gateway, json!({ "key": secret(&scene.warm) })).await;
        (answer.status == 503).then_some(())
    };
    eventually(Duration::from_secs(4), "an outage", refused).await;
    assert!(stopped.elapsed() < Duration::from_secs(8), "{:?}", stopped.elapsed());
    site.postgres.start_again();
    scene.works_again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_network_is_503_and_cached_keys_are_verified() {
    let site = Site::new();
    let proxy = Proxy::to(site.postgres.port).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, site.database);
    let scene = Scene::of(site.replica_by(&url, &[])).await;
    for _ in 0..2 {
        proxy.set(Wire::SwallowsAll);
        scene.is_cut_off().await;
        scene.warm_is_answered_at_once_for(Duration::from_secs(4)).await;
        proxy.set(Wire::Passes);
        let made =
            async || (scene.server.create(&scene.alice, json!({ "name": "y" })).await.status == 201).then_some(());
        eventually(Duration::from_secs(10), "a create", made).await;
        // What was in memory is dropped once changes are heard of again, and then read again.
        scene.warm_is_answered_at_once_for(Duration::from_secs(3)).await;
    }
    scene.works_again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_transaction_loses_no_later_create() {
    let site = Site::new();
    let proxy = Proxy::to(site.postgres.port).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, site.database);
    let server = site.replica_by(&url, &["--database-connections", "2"]);
    let alice = server.token("alice");
    let key = server.key(&alice, json!({ "name": "before" })).await;
    proxy.set(Wire::SwallowsAll);
    // Its BEGIN comes late, when nobody waits for it any more.
    let asked = Instant::now();
    is_outage(&server.patch(id(&key), &alice, json!({ "name": "given up" })).await, asked);
    proxy.set(Wire::Passes);
    for _ in 0..10 {
        let made = async || (server.create(&alice, json!({ "name": "after" })).await.status == 201).then_some(());
        eventually(Duration::from_secs(10), "a create", made).await;
    }
    assert_eq!(site.query("SELECT name, count(*) FROM api_keys GROUP BY name ORDER BY name"), "after|10\nbefore|1");
}

#[tokio::test]
async fn frozen_postgresql_is_503_and_cached_keys_are_verified() {
    let site = Site::alone();
    let scene = Scene::of(site.replica(&[])).await;
    let lag = async || {
        let scrape = scene.server.get("/metrics", "").await.text;
        let lag = scrape.lines().find_map(|line| line.strip_prefix("mintkey_revocation_lag_seconds "));
        lag.unwrap().parse::<f64>().unwrap()
    };
    eventually(Duration::from_secs(5), "a measured lag", async || (0.0..1.0).contains(&lag().await).then_some(()))
        .await;
    site.postgres.freeze(true);
    scene.is_cut_off().await;
    scene.warm_is_answered_at_once_for(Duration::from_secs(4)).await;
    assert!(lag().await > 4.0);
    assert!(scene.server.get("/readyz", "").await.problem(503).contains("store cannot be asked"));
    site.postgres.freeze(false);
    scene.works_again().await;
    eventually(Duration::from_secs(5), "a lag as before", async || (lag().await < 1.0).then_some(())).await;
    assert_eq!(scene.server.get("/readyz", "").await.status, 200);
}

#[tokio::test]
async fn terminated_connections_are_replaced() {
    let site = Site::new();
    let scene = Scene::of(site.replica(&[])).await;
    for _ in 0..5 {
        site.terminate("true");
        // At most the connections that were open fail, one request each.
        let made =
            async || (scene.server.create(&scene.alice, json!({ "name": "y" })).await.status == 201).then_some(());
        eventually(Duration::from_secs(5), "a create", made).await;
    }
    scene.works_again().await;
    assert!(!scene.server.log().contains("ERROR"), "{}", scene.server.log());
}

#[tokio::test]
async fn locked_table_is_503_until_released() {
    let site = Site::new();
    let scene = Scene::of(site.replica(&[])).await;
    let mut holder = site.postgres.psql(&site.database, "BEGIN; LOCK TABLE api_keys; SELECT pg_sleep(4); ROLLBACK");
    let mut holder = holder.spawn().unwrap();
    let locked = async || {
        let held =
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'api_keys'::regclass";
        (site.query(held) == "1").then_some(())
    };
    eventually(Duration::from_secs(5), "a lock", locked).await;
    let asked = Instant::now();
    is_outage(&scene.server.create(&scene.alice, json!({ "name": "x" })).await, asked);
    assert_eq!(scene.server.code(&scene.gateway, secret(&scene.warm)).await, "VALID");
    assert!(holder.wait().unwrap().success());
    scene.works_again().await;
}
