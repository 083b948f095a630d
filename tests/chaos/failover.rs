//! Failover: PostgreSQL's primary dies under load, and its synchronous standby is promoted behind HAProxy.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Cluster, tokens};
use crate::haproxy::start_haproxy;
use crate::history::{Load, random};
use crate::setting;
use crate::support::eventually;
use crate::support::postgres::Postgres;

const STALENESS: [&str; 4] = ["--max-staleness", "5s", "--max-keys-per-owner", "unlimited"];

/// The staleness limit, plus the time of a response in transit.
const MAX_LAG: Duration = Duration::from_millis(5500);

/// A standby without which no commit of the primary is acknowledged.
async fn synchronous_standby(primary: &Postgres) -> Postgres {
    let standby = primary.start_standby();
    primary.query("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary.query("postgres", "SELECT pg_reload_conf()");
    let is_synchronous = async || {
        let state = primary.query("postgres", "SELECT sync_state FROM pg_stat_replication");
        (state == "sync").then_some(())
    };
    eventually(Duration::from_secs(20), "a synchronous standby", is_synchronous).await;
    standby
}

async fn wait_for_revocations(load: &Load, number: u64) {
    let target = load.revoked.load(Ordering::SeqCst) + number;
    let deadline = Instant::now() + Duration::from_secs(60 + number);
    while load.revoked.load(Ordering::SeqCst) < target {
        assert!(Instant::now() < deadline, "{} of {target} revocations", load.revoked.load(Ordering::SeqCst));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_to_synchronous_standby_loses_nothing() {
    for _ in 0..setting("CHAOS_FAILOVERS", 3) {
        let cluster = Cluster::with_own_postgres();
        let standby = synchronous_standby(&cluster.postgres).await;
        let proxy = start_haproxy(&[cluster.postgres.port, standby.port]);
        let url = proxy.url(&cluster.database);
        let servers: Vec<_> = (0..3).map(|_| cluster.replica_with_url(&url, &STALENESS)).collect();
        let (gateway, alice) = tokens(&servers[0]);
        let load = Load::on(&servers, gateway, alice.clone());
        let clients = load.start(4, 6);
        wait_for_revocations(&load, 50).await;

        cluster.postgres.stop_immediately();
        let died = Instant::now();
        tokio::time::sleep(Duration::from_millis(random(3000) as u64)).await;
        standby.query("postgres", "SELECT pg_promote()");
        let promoted = Instant::now();
        for server in &servers {
            let created = async || (server.create(&alice, json!({ "name": "y" })).await.status == 201).then_some(());
            eventually(Duration::from_secs(15), "a create", created).await;
        }
        println!(
            "failover: promoted after {:?}, creates at every replica {:?} later",
            promoted - died,
            promoted.elapsed()
        );
        wait_for_revocations(&load, 50).await;
        load.finish("failover", clients).await;
        assert!(load.longest_lag() < MAX_LAG, "{:?}", load.longest_lag());
        load.assert_matches_database(|sql| standby.query(&cluster.database, sql));
        for server in &servers {
            assert!(!server.log().contains("ERROR"), "{}", server.log());
        }
    }
}
