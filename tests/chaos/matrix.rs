//! Matrix: versions of PostgreSQL, and what may stand between it and a replica. Either a revoked key is refused in time,
//! or `serve` and `doctor` refuse the connection. The table in docs/replicas.md has the results.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::cluster::{Cluster, FIRST_CHECK, assert_revocations_arrive};
use crate::haproxy::start_haproxy;
use crate::pgbouncer::start_pgbouncer;
use crate::pgpool::start_pgpool;
use crate::postgres_proxy::PostgresProxy;
use crate::proxy::Proxy;
use crate::support::doctor::{assert_fails, assert_passes};
use crate::support::postgres::Postgres;
use crate::support::{eventually, run, succeed};

/// A server that was installed by tests/e2e/tools.sh.
fn installed(version: &str) -> Postgres {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chaos/node_modules").join(version).join("native");
    assert!(directory.exists(), "{version} is missing: run make chaos, or tests/e2e/tools.sh chaos");
    Postgres::start_version(&directory)
}

/// What is between a replica and PostgreSQL.
enum Between {
    Nothing,
    HaProxy(PostgresProxy),
    PgBouncer(PostgresProxy),
    Pgpool(PostgresProxy),
}

impl Between {
    fn name(&self) -> String {
        let first_line = |program: &str, argument: &str| {
            let output = run(Command::new(program).arg(argument));
            // Pgpool-II prints it to standard error.
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8(text).unwrap().lines().next().unwrap_or_default().to_owned()
        };
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::HaProxy(_) => first_line("/usr/sbin/haproxy", "-v"),
            Self::PgBouncer(_) => first_line("/usr/sbin/pgbouncer", "--version"),
            Self::Pgpool(_) => first_line("/usr/sbin/pgpool", "--version"),
        }
    }

    fn url(&self, cluster: &Cluster) -> String {
        match self {
            Self::Nothing => cluster.postgres.url(&cluster.database),
            Self::HaProxy(proxy) | Self::PgBouncer(proxy) | Self::Pgpool(proxy) => proxy.url(&cluster.database),
        }
    }
}

/// Through this connection, a replica refuses revoked keys in time, and no check fails.
async fn assert_supported(cluster: &Cluster, between: Between) {
    let url = between.url(cluster);
    let here = cluster.replica(&[]);
    let there = cluster.replica_with_url(&url, &[]);
    let lag = assert_revocations_arrive(&here, &there).await;
    assert_eq!(there.get("/readyz", "").await.status, 200);
    assert!(!there.log().contains("change feed disconnected"), "{}", there.log());
    assert_passes(&cluster.doctor(&url), "database", &["up to date"]);
    let within = lag + FIRST_CHECK;
    println!("{}: {}: a revoked key was refused within {within:?}", version(&cluster.postgres), between.name());
}

/// `serve` does not start, and `doctor` fails, each with its words.
fn assert_refused(cluster: &Cluster, url: &str, name: &str, by_serve: &str, by_doctor: &[&str]) {
    let log = cluster.refused_replica(url);
    assert!(log.contains(by_serve), "{log}");
    assert_fails(&cluster.doctor(url), "database", by_doctor);
    println!("{}: {name}: refused by serve ({by_serve}) and doctor", version(&cluster.postgres));
}

fn version(postgres: &Postgres) -> String {
    format!("PostgreSQL {}", postgres.query("postgres", "SHOW server_version"))
}

/// Each on a database of its own, at once.
async fn assert_connections(postgres: Postgres) {
    let postgres = Arc::new(postgres);
    let supported = [
        Between::Nothing,
        Between::HaProxy(start_haproxy(&[postgres.port])),
        Between::PgBouncer(start_pgbouncer(&postgres, "session")),
        Between::Pgpool(start_pgpool(&[postgres.port], "off")),
    ];
    let supported = supported.into_iter().map(async |between| {
        assert_supported(&Cluster::with_shared_postgres(postgres.clone()), between).await;
    });
    join_all(supported).await;
    let cluster = Cluster::with_shared_postgres(postgres.clone());
    let pooler = start_pgbouncer(&postgres, "transaction");
    let by_doctor = ["does not reach another", "pool_mode = session"];
    let url = pooler.url(&cluster.database);
    assert_refused(&cluster, &url, "PgBouncer, transaction", "gives each transaction another session", &by_doctor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_arrive_with_postgresql_of_debian() {
    assert_connections(Postgres::start(&[])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_arrive_with_postgresql_16() {
    assert_connections(installed("postgresql-16")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_arrive_with_postgresql_17() {
    assert_connections(installed("postgresql-17")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_arrive_with_postgresql_18() {
    assert_connections(installed("postgresql-18")).await;
}

/// A cluster whose database has its tables, and a standby that has caught up.
async fn replicated() -> (Cluster, Postgres) {
    let cluster = Cluster::with_own_postgres();
    succeed(&mut cluster.command(&["migrate"]));
    let standby = cluster.postgres.start_standby();
    let caught_up = async || {
        let lag = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()";
        (cluster.query(lag) == "1").then_some(())
    };
    eventually(Duration::from_secs(20), "a standby that has caught up", caught_up).await;
    (cluster, standby)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standby_is_refused_until_promoted() {
    let (cluster, standby) = replicated().await;
    let url = standby.url(&cluster.database);
    assert_refused(&cluster, &url, "standby", "standby in recovery", &["standby in recovery"]);
    cluster.postgres.stop_immediately();
    standby.query("postgres", "SELECT pg_promote()");
    let Cluster { database, data, .. } = cluster;
    assert_supported(&Cluster { postgres: Arc::new(standby), database, data }, Between::Nothing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgpool_with_standby_and_without_balancing_is_supported() {
    let (cluster, standby) = replicated().await;
    let pooler = start_pgpool(&[cluster.postgres.port, standby.port], "off");
    let between = Between::Pgpool(pooler);
    // A read there would be noticed.
    standby.query("postgres", "SELECT pg_wal_replay_pause()");
    let here = cluster.replica(&[]);
    let there = cluster.replica_with_url(&between.url(&cluster), &["--cache-ttl", "1s"]);
    let lag = assert_revocations_arrive(&here, &there).await;
    println!("Pgpool-II with a standby: a revoked key was refused within {:?}", lag + FIRST_CHECK);
}

/// Pgpool-II chooses a server for the reads of each session. Sessions that read from a standby are not used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pgpool_with_balancing_is_refused_and_reads_no_standby() {
    let (cluster, standby) = replicated().await;
    let pooler = start_pgpool(&[cluster.postgres.port, standby.port], "on");
    let by_doctor = ["Pgpool-II", "load_balance_mode = off"];
    assert_fails(&cluster.doctor(&pooler.url(&cluster.database)), "database", &by_doctor);
    standby.query("postgres", "SELECT pg_wal_replay_pause()");
    let proxy = Proxy::to(cluster.postgres.port).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/{}", proxy.port, cluster.database);
    let here = cluster.replica(&[]);
    let there = cluster.replica_with_url(&url, &["--cache-ttl", "1s"]);
    // It has started, and its next connections are balanced.
    proxy.route_to(pooler.port);
    cluster.terminate("true");
    let lag = assert_revocations_arrive(&here, &there).await;
    println!("Pgpool-II with balancing: a revoked key was refused within {:?}", lag + FIRST_CHECK);
}
