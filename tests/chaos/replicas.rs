//! Three replicas under load with a repeated fault.

use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Cluster, LISTENING, tokens};
use crate::history::{Load, random};
use crate::proxy::{Link, Proxy};
use crate::setting;
use crate::support::postgres::Postgres;
use crate::support::{Server, eventually};

/// The bound on the time that a revoked key is accepted while the database is reachable.
const MAX_LAG: Duration = Duration::from_secs(5);

struct Fixture {
    cluster: Cluster,
    proxy: Proxy,
    servers: Vec<Server>,
    gateway: String,
    alice: String,
}

impl Fixture {
    /// One of the replicas reaches PostgreSQL through a proxy that can block, the others directly.
    async fn new() -> Self {
        Self::on(Cluster::with_own_postgres()).await
    }

    async fn on(cluster: Cluster) -> Self {
        let proxy = Proxy::to(cluster.postgres.port).await;
        let by_proxy = format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, cluster.database);
        let limit = ["--max-staleness", "5s", "--max-keys-per-owner", "unlimited"];
        let servers =
            vec![cluster.replica(&limit), cluster.replica(&limit), cluster.replica_with_url(&by_proxy, &limit)];
        let (gateway, alice) = tokens(&servers[0]);
        Self { cluster, proxy, servers, gateway, alice }
    }

    /// Puts load on the replicas and repeats `fault` until enough revocations are acknowledged, and then compares the
    /// history with the database.
    async fn assert_revocations_hold(&self, name: &str, max_lag: Duration, fault: impl AsyncFn()) {
        let target = setting("CHAOS_REVOCATIONS", 100);
        let load = Load::on(&self.servers, self.gateway.clone(), self.alice.clone());
        let clients = load.start(4, 6);
        let deadline = Instant::now() + Duration::from_secs(60 + target);
        while load.revoked.load(Ordering::SeqCst) < target {
            assert!(Instant::now() < deadline, "{name}: {} revocations", load.revoked.load(Ordering::SeqCst));
            fault().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.assert_all_recover().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        load.finish(name, clients).await;
        assert!(load.longest_lag() < max_lag, "{name}: {:?}", load.longest_lag());
        load.assert_matches_database(|sql| self.cluster.query(sql));
        for server in &self.servers {
            assert!(!server.log().contains("ERROR"), "{name}: {}", server.log());
        }
    }

    async fn assert_all_recover(&self) {
        for server in &self.servers {
            let created =
                async || (server.create(&self.alice, json!({ "name": "y" })).await.status == 201).then_some(());
            eventually(Duration::from_secs(15), "a create", created).await;
        }
    }
}

async fn sleep_millis(millis: usize) {
    tokio::time::sleep(Duration::from_millis(millis as u64)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_without_faults() {
    Fixture::new().await.assert_revocations_hold("normal", MAX_LAG, async || {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_listeners_are_killed() {
    let fixture = Fixture::new().await;
    fixture.assert_revocations_hold("listener killed", MAX_LAG, async || fixture.cluster.terminate(LISTENING)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_notifications_are_lost() {
    let fixture = Fixture::new().await;
    let fault = async || {
        fixture.proxy.set(Link::NoNotifications);
        sleep_millis(random(8000)).await;
        fixture.proxy.set(Link::Open);
        sleep_millis(random(1000)).await;
    };
    fixture.assert_revocations_hold("notifications lost", MAX_LAG, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_one_replica_is_isolated() {
    let fixture = Fixture::new().await;
    let fault = async || {
        fixture.proxy.set(Link::Blocked);
        sleep_millis(random(12_000)).await;
        fixture.proxy.set(Link::Open);
        sleep_millis(random(1000)).await;
    };
    // The staleness limit, plus the time of a response in transit.
    fixture.assert_revocations_hold("one replica cut off", MAX_LAG + Duration::from_millis(500), fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_postgresql_is_frozen() {
    let fixture = Fixture::new().await;
    let fault = async || {
        fixture.cluster.postgres.freeze(true);
        sleep_millis(random(6000)).await;
        fixture.cluster.postgres.freeze(false);
        sleep_millis(random(2000)).await;
    };
    fixture.assert_revocations_hold("SIGSTOP", MAX_LAG, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_postgresql_crashes() {
    let fixture = Fixture::new().await;
    let fault = async || {
        sleep_millis(random(2000)).await;
        fixture.cluster.postgres.stop_immediately();
        sleep_millis(random(3000)).await;
        fixture.cluster.postgres.start_again();
    };
    fixture.assert_revocations_hold("stop -m immediate", MAX_LAG, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_connections_are_terminated() {
    let fixture = Fixture::new().await;
    let fault = async || {
        fixture.cluster.terminate("true");
        sleep_millis(random(1000)).await;
    };
    fixture.assert_revocations_hold("connections cut", MAX_LAG, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_connections_are_exhausted() {
    let fixture = Fixture::on(Cluster::with_postgres(Postgres::start(&["max_connections=40"]))).await;
    // Terminates the connections of mintkey, so that their slots are free, and takes one.
    let cut_and_sleep = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mintkey'; \
                         SELECT pg_sleep(4)";
    let sleep = || {
        let mut sleeper = fixture.cluster.postgres.psql("postgres", cut_and_sleep);
        sleeper.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let fault = async || {
        let sleepers: Vec<_> = (0..60).map(|_| sleep()).collect();
        sleep_millis(5000).await;
        for mut sleeper in sleepers {
            sleeper.wait().unwrap();
        }
        sleep_millis(random(1000)).await;
    };
    fixture.assert_revocations_hold("no connection left", MAX_LAG, fault).await;
}
