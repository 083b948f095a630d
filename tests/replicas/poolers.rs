//! Poolers: a replica behind PgBouncer gets its changes in time, or does not trust its cache.

use std::time::Duration;

use crate::cluster::{Cluster, LISTENING, assert_revocations_arrive};
use crate::pgbouncer::start_pgbouncer;
use crate::proxy::Proxy;
use crate::support::doctor::{assert_fails, assert_passes};
use crate::support::eventually;

#[tokio::test]
async fn session_pooler_delivers_revocations() {
    let cluster = Cluster::new();
    let pooler = start_pgbouncer(&cluster.postgres, "session");
    let here = cluster.replica(&[]);
    let there = cluster.replica_with_url(&pooler.url(&cluster.database), &[]);
    assert_revocations_arrive(&here, &there).await;
    assert!(!there.log().contains("change feed disconnected"), "{}", there.log());
    assert_passes(&cluster.doctor(&pooler.url(&cluster.database)), "database", &["up to date"]);
}

/// The listening connection is behind the pooler and the others are not, so that statements, which a pooler in
/// transaction mode confuses, do not hide what it does to notifications.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_pooler_makes_cache_untrusted() {
    let cluster = Cluster::new();
    let pooler = start_pgbouncer(&cluster.postgres, "transaction");
    let proxy = Proxy::to(cluster.postgres.port).await;
    let here = cluster.replica(&[]);
    let url = format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, cluster.database);
    let there = cluster.replica_with_url(&url, &[]);
    let listeners = || {
        let own = format!("datname = '{}' AND {LISTENING}", cluster.database);
        cluster.query(&format!("SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE {own}"))
    };
    let before = listeners();
    proxy.route_to(pooler.port);
    cluster.terminate(LISTENING);
    // Both replicas listen again.
    let listen = async || {
        let is_new = |pid: &&str| before.split(' ').all(|old| old != *pid);
        (listeners().split(' ').filter(is_new).count() >= 2).then_some(())
    };
    eventually(Duration::from_secs(10), "new listeners", listen).await;
    assert_revocations_arrive(&here, &there).await;
    there.wait_for_log(&["WARN", "change feed disconnected"]);
}

/// Prepared statements of clients would collide: one would get the rows of another's statement.
#[test]
fn serve_and_doctor_fail_behind_transaction_pooler() {
    let cluster = Cluster::new();
    let pooler = start_pgbouncer(&cluster.postgres, "transaction");
    let url = pooler.url(&cluster.database);
    let log = cluster.refused_replica(&url);
    assert!(log.contains("gives each transaction another session") && log.contains("pool_mode = session"), "{log}");
    let expected = ["does not reach another", "PgBouncer", "pool_mode = session"];
    assert_fails(&cluster.doctor(&url), "database", &expected);
}
