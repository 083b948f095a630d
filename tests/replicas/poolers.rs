//! Poolers: a replica behind PgBouncer gets its changes in time, or does not trust its cache.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, LISTENING, tokens, wait_for_code};
use crate::pgbouncer::PgBouncer;
use crate::proxy::Proxy;
use crate::support::doctor::{assert_fails, assert_passes, run_doctor};
use crate::support::{Server, eventually, id, secret};

/// The bound on the lag of a revocation while the database is reachable.
const MAX_LAG: Duration = Duration::from_secs(5);

/// Revokes keys at `here` that `there` has cached, and checks that `there` does not find them valid later than the bound.
async fn assert_revocations_arrive(here: &Server, there: &Server) {
    let (gateway, alice) = tokens(here);
    let mut revoked = Vec::new();
    for _ in 0..6 {
        let key = here.create_key(&alice, &[]).await;
        wait_for_code(there, &gateway, secret(&key), "VALID", Instant::now()).await;
        assert_eq!(here.revoke(id(&key), &alice, Value::Null).await.status, 200);
        revoked.push((key, Instant::now()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let end = Instant::now() + MAX_LAG + Duration::from_secs(2);
    while Instant::now() < end {
        for (key, since) in &revoked {
            let elapsed = since.elapsed();
            let code = there.verify(&gateway, json!({ "key": secret(key) })).await.body["code"].clone();
            assert!(code != "VALID" || elapsed < MAX_LAG, "VALID {elapsed:?} after the revocation\n{}", there.log());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn doctor(cluster: &Cluster, pooler: &PgBouncer) -> (String, bool) {
    std::fs::set_permissions(cluster.data.path(), Permissions::from_mode(0o700)).unwrap();
    let mut doctor = cluster.command(&["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]);
    run_doctor(doctor.env("MINTKEY_DATABASE_URL", pooler.url(&cluster.database)))
}

#[tokio::test]
async fn session_pooler_delivers_revocations() {
    let cluster = Cluster::new();
    let pooler = PgBouncer::to(&cluster.postgres, "session");
    let here = cluster.replica(&[]);
    let there = cluster.replica_with_url(&pooler.url(&cluster.database), &[]);
    assert_revocations_arrive(&here, &there).await;
    assert!(!there.log().contains("change feed disconnected"), "{}", there.log());
    assert_passes(&doctor(&cluster, &pooler), "database", &["up to date"]);
}

/// The listening connection is behind the pooler and the others are not, so that statements, which a pooler in
/// transaction mode confuses, do not hide what it does to notifications.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transaction_pooler_makes_cache_untrusted() {
    let cluster = Cluster::new();
    let pooler = PgBouncer::to(&cluster.postgres, "transaction");
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

#[test]
fn doctor_fails_behind_transaction_pooler() {
    let cluster = Cluster::new();
    let pooler = PgBouncer::to(&cluster.postgres, "transaction");
    assert_fails(
        &doctor(&cluster, &pooler),
        "database",
        &["does not reach another", "PgBouncer", "pool_mode = session"],
    );
}
