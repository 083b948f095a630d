//! Three replicas under load while something is wrong again and again.

use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::history::{Load, random};
use crate::proxy::{Proxy, Wire};
use crate::site::{LISTENING, Site, tokens};
use crate::size;
use crate::support::postgres::Postgres;
use crate::support::{Server, eventually};

/// Never later than this is a revoked key accepted, while the store can be asked.
const ALWAYS: Duration = Duration::from_secs(5);

struct Scene {
    site: Site,
    proxy: Proxy,
    servers: Vec<Server>,
    gateway: String,
    alice: String,
}

impl Scene {
    /// One of the replicas reaches PostgreSQL by a wire that can be cut, the others as it is.
    async fn new() -> Self {
        Self::on(Site::alone()).await
    }

    async fn on(site: Site) -> Self {
        let proxy = Proxy::to(site.postgres.port).await;
        let by_proxy = format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, site.database);
        let limit = ["--max-staleness", "5s"];
        let servers = vec![site.replica(&limit), site.replica(&limit), site.replica_by(&by_proxy, &limit)];
        let (gateway, alice) = tokens(&servers[0]);
        Self { site, proxy, servers, gateway, alice }
    }

    /// Loads the replicas until so many revocations were answered, with `fault` again and again, and then holds what was
    /// answered against what is.
    async fn endures(&self, name: &str, bound: Duration, fault: impl AsyncFn()) {
        let enough = size("CHAOS_REVOCATIONS", 100);
        let load = Load::on(&self.servers, self.gateway.clone(), self.alice.clone());
        let clients = load.start(4, 6);
        let deadline = Instant::now() + Duration::from_secs(60 + enough);
        while load.revoked.load(Ordering::SeqCst) < enough {
            assert!(Instant::now() < deadline, "{name}: {} revocations", load.revoked.load(Ordering::SeqCst));
            fault().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.all_work_again().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        load.end();
        for client in clients {
            client.await.unwrap();
        }
        println!(
            "{name}: {} revocations, {} verifies, {} answers 503, a revoked key accepted for at most {:?}, slowest verify {:?}",
            load.revoked.load(Ordering::SeqCst),
            load.verified.load(Ordering::SeqCst),
            load.unavailable.load(Ordering::SeqCst),
            load.longest_late(),
            Duration::from_micros(load.slowest_verify.load(Ordering::SeqCst)),
        );
        assert!(load.longest_late() < bound, "{name}: {:?}", load.longest_late());
        load.is_in_the_database(&self.site);
        for server in &self.servers {
            assert!(!server.log().contains("ERROR"), "{name}: {}", server.log());
        }
    }

    async fn all_work_again(&self) {
        for server in &self.servers {
            let made = async || (server.create(&self.alice, json!({ "name": "y" })).await.status == 201).then_some(());
            eventually(Duration::from_secs(15), "a create", made).await;
        }
    }
}

async fn for_millis(millis: usize) {
    tokio::time::sleep(Duration::from_millis(millis as u64)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_without_faults() {
    Scene::new().await.endures("normal", ALWAYS, async || {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_listeners_are_killed() {
    let scene = Scene::new().await;
    scene.endures("listener killed", ALWAYS, async || scene.site.terminate(LISTENING)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_notifications_are_lost() {
    let scene = Scene::new().await;
    let fault = async || {
        scene.proxy.set(Wire::Deaf);
        for_millis(random(8000)).await;
        scene.proxy.set(Wire::Passes);
        for_millis(random(1000)).await;
    };
    scene.endures("notifications lost", ALWAYS, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_one_replica_is_isolated() {
    let scene = Scene::new().await;
    let fault = async || {
        scene.proxy.set(Wire::SwallowsAll);
        for_millis(random(12_000)).await;
        scene.proxy.set(Wire::Passes);
        for_millis(random(1000)).await;
    };
    // Of memory, as long as it may stand in; and of an answer that was on its way.
    scene.endures("one replica cut off", ALWAYS + Duration::from_millis(500), fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_postgresql_is_frozen() {
    let scene = Scene::new().await;
    let fault = async || {
        scene.site.postgres.freeze(true);
        for_millis(random(6000)).await;
        scene.site.postgres.freeze(false);
        for_millis(random(2000)).await;
    };
    scene.endures("SIGSTOP", ALWAYS, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_postgresql_crashes() {
    let scene = Scene::new().await;
    let fault = async || {
        for_millis(random(2000)).await;
        scene.site.postgres.stop_immediately();
        for_millis(random(3000)).await;
        scene.site.postgres.start_again();
    };
    scene.endures("stop -m immediate", ALWAYS, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_connections_are_terminated() {
    let scene = Scene::new().await;
    let fault = async || {
        scene.site.terminate("true");
        for_millis(random(1000)).await;
    };
    scene.endures("connections cut", ALWAYS, fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_hold_when_connections_are_exhausted() {
    let scene = Scene::on(Site::at(Postgres::start(&["max_connections=40"]))).await;
    // Whoever comes first cuts mintkey's connections, so that they are free to be taken.
    let cut_and_sleep = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mintkey'; \
                         SELECT pg_sleep(4)";
    let sleep = || {
        let mut sleeper = scene.site.postgres.psql("postgres", cut_and_sleep);
        sleeper.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let fault = async || {
        let sleepers: Vec<_> = (0..60).map(|_| sleep()).collect();
        for_millis(5000).await;
        for mut sleeper in sleepers {
            sleeper.wait().unwrap();
        }
        for_millis(random(1000)).await;
    };
    scene.endures("no connection left", ALWAYS, fault).await;
}
