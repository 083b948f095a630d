//! Doctor: deployments on PostgreSQL with one fault each, and the report on it.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::pgbouncer::start_pgbouncer_with;
use crate::support::doctor::{advice, assert_fails, assert_passes, run_doctor};
use crate::support::postgres::{Postgres, free_port};
use crate::support::{run, succeed};

/// A server on which the user `strict` needs a password.
static STRICT: LazyLock<Arc<Postgres>> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("pg_hba.conf");
    std::fs::write(&rules, "host all strict 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n").unwrap();
    let postgres = Postgres::start_with_files(&[&rules], &[]);
    postgres.query("postgres", "CREATE ROLE strict LOGIN PASSWORD 'right'; CREATE ROLE guest LOGIN");
    postgres.into()
});

fn doctor(cluster: &Cluster, url: &str, arguments: &[&str]) -> (String, bool) {
    std::fs::set_permissions(cluster.data.path(), Permissions::from_mode(0o700)).unwrap();
    let mut command = cluster.command(&["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]);
    let started = Instant::now();
    let report = run_doctor(command.args(arguments).env("MINTKEY_DATABASE_URL", url));
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}\n{}", started.elapsed(), report.0);
    report
}

/// The URL of the cluster's database for this user (`NAME` or `NAME:PASSWORD`).
fn url_as(cluster: &Cluster, user: &str) -> String {
    cluster.postgres.url(&cluster.database).replacen("postgres@", &format!("{user}@"), 1)
}

/// A cluster whose database is migrated.
fn migrated(cluster: Cluster) -> Cluster {
    succeed(&mut cluster.command(&["migrate"]));
    cluster
}

#[test]
fn doctor_fails_on_empty_database_and_keeps_it_empty() {
    let cluster = Cluster::new();
    let run = || doctor(&cluster, &url_as(&cluster, "postgres"), &[]);
    assert_fails(
        &run(),
        "database",
        &["no tables of mintkey", "`mintkey migrate`", "`mintkey serve`", "--database-url"],
    );
    assert_eq!(cluster.query("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), "0");
    succeed(&mut cluster.command(&["migrate"]));
    assert_passes(&run(), "database connections", &["397", "replicas: 18", "up to 21"]);
    assert_passes(&run(), "database notifications", &["0 % of their queue"]);
}

#[test]
fn doctor_fails_only_on_schema_of_other_version() {
    let cluster = Cluster::new();
    let _server = cluster.replica(&[]);
    let run = || doctor(&cluster, &url_as(&cluster, "postgres"), &[]);
    assert_passes(&run(), "database", &["up to date"]);
    assert_passes(&run(), "master secret", &["matches the database"]);
    cluster.query("UPDATE schema_version SET version = 1000, min_binary_version = 1000");
    assert_fails(&run(), "database", &["newer mintkey", "version 1000"]);
    cluster.query(
        "UPDATE schema_version SET version = (SELECT count(*) FROM seaql_migrations) - 1, min_binary_version = 1",
    );
    assert_fails(&run(), "database", &["1 migrations", "mintkey migrate"]);
}

#[test]
fn doctor_fails_in_time_on_server_that_is_not_postgresql() {
    let cluster = Cluster::new();
    let run = |port: u16| doctor(&cluster, &format!("postgres://mintkey:canary@127.0.0.1:{port}/mintkey"), &[]);
    assert_fails(
        &run(free_port()),
        "database",
        &["no PostgreSQL responds at 127.0.0.1:", "refused", "start it", "the URL"],
    );
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_fails(&run(silent.local_addr().unwrap().port()), "database", &["no PostgreSQL responds at", "timed out"]);
    let other = cluster.replica(&[]);
    let port = other.url.rsplit(':').next().unwrap().parse().unwrap();
    assert_fails(&run(port), "database", &["does not respond as PostgreSQL", "host and port"]);
}

#[test]
fn doctor_fails_on_refused_user_or_missing_database() {
    let cluster = Cluster::with_shared_postgres(STRICT.clone());
    let wrong = doctor(&cluster, &url_as(&cluster, "strict:canary"), &[]);
    assert_fails(&wrong, "database", &["rejects the user strict", "password", "pg_hba.conf"]);
    assert_fails(&doctor(&cluster, &url_as(&cluster, "strict"), &[]), "database", &["rejects the user strict"]);
    let nowhere = cluster.postgres.url("nowhere");
    assert_fails(
        &doctor(&cluster, &nowhere, &[]),
        "database",
        &["no database nowhere", "CREATE DATABASE nowhere OWNER postgres"],
    );
    let no_tls = format!("{}?sslmode=require", url_as(&cluster, "postgres"));
    assert_fails(&doctor(&cluster, &no_tls, &[]), "database", &["no TLS", "sslmode"]);
}

#[test]
fn doctor_says_what_to_grant_to_create_tables() {
    let cluster = Cluster::with_shared_postgres(STRICT.clone());
    let url = url_as(&cluster, "guest");
    let run = || doctor(&cluster, &url, &[]);
    let report = run();
    assert_fails(&report, "database", &["guest may not create tables in the schema public", "`mintkey migrate`"]);
    cluster.query(&format!("GRANT {}", advice(&report, ", or GRANT ", "\n")));
    succeed(cluster.command(&["migrate"]).env("MINTKEY_DATABASE_URL", &url));
    assert_passes(&run(), "database", &["up to date"]);
    cluster.query(&format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", cluster.database));
    assert_fails(&run(), "database", &["guest may not use the database", "permission denied"]);
}

#[test]
fn search_path_without_schema_is_rejected_until_changed() {
    let cluster = Cluster::new();
    cluster.query(&format!("ALTER DATABASE {} SET search_path = nowhere, \"$user\"", cluster.database));
    let run = || doctor(&cluster, &url_as(&cluster, "postgres"), &[]);
    let report = run();
    assert_fails(&report, "database", &["search_path (nowhere, \"$user\")", "used by postgres", "CREATE SCHEMA"]);
    let refused = crate::support::run(&mut cluster.command(&["migrate"]));
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && stderr.contains("search_path (nowhere"), "{stderr}");
    cluster.query(advice(&report, "run: ", ";"));
    succeed(&mut cluster.command(&["migrate"]));
    assert_passes(&run(), "database", &["up to date"]);
}

/// The queue of 8 GB is not filled: a function in front of PostgreSQL's own multiplies what is in use.
#[test]
fn doctor_fails_on_filling_notification_queue_until_its_holder_ends() {
    let cluster = migrated(Cluster::with_own_postgres());
    let url = url_as(&cluster, "postgres");
    cluster.query(
        "CREATE FUNCTION pg_notification_queue_usage() RETURNS float8 LANGUAGE sql \
         AS 'SELECT pg_catalog.pg_notification_queue_usage() * 1e5'",
    );
    cluster.query(&format!("ALTER DATABASE {} SET search_path = public, pg_catalog", cluster.database));
    assert_passes(&doctor(&cluster, &url, &[]), "database notifications", &["delivered"]);
    let mut holder = cluster.postgres.psql(&cluster.database, "LISTEN other");
    holder.args(["--command", "BEGIN", "--command", "SELECT pg_sleep(600)"]);
    let mut holder = holder.spawn().unwrap();
    let holds = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
    let deadline = Instant::now() + Duration::from_secs(20);
    while cluster.query(holds) != "1" {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    cluster.query("SELECT count(pg_notify('other', repeat('x', 7000) || n)) FROM generate_series(1, 100) AS n");
    let report = doctor(&cluster, &url, &[]);
    assert_fails(&report, "database notifications", &["queue of notifications", "has not ended its transaction"]);
    let found = cluster.query(advice(&report, "as a superuser, with ", "; and end it"));
    let (pid, _) = found.split_once('|').unwrap();
    cluster.query(&advice(&report, "end it: ", "\n").replace("PID", pid));
    holder.wait().unwrap();
    assert_passes(&doctor(&cluster, &url, &[]), "database notifications", &["delivered"]);
}

#[test]
fn doctor_fails_on_too_few_connections() {
    let cluster = migrated(Cluster::with_shared_postgres(STRICT.clone()));
    let url = url_as(&cluster, "postgres");
    let many = doctor(&cluster, &url, &["--database-connections", "500"]);
    assert_fails(&many, "database connections", &["397", "501", "max_connections", "--database-connections"]);
    assert_passes(&doctor(&cluster, &url, &["--database-connections", "300"]), "database connections", &["up to 301"]);
    cluster.query("CREATE ROLE few LOGIN CONNECTION LIMIT 5");
    cluster.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO few");
    let few = || doctor(&cluster, &url_as(&cluster, "few"), &[]);
    assert_fails(&few(), "database connections", &["5 at a time", "21", "CONNECTION LIMIT"]);
    cluster.query("ALTER ROLE few CONNECTION LIMIT 50");
    assert_passes(&few(), "database connections", &["50", "replicas: 2"]);
}

#[test]
fn doctor_fails_on_settings_that_lose_or_reject_data() {
    let cluster = Cluster::new();
    let url = url_as(&cluster, "postgres");
    let _server = cluster.replica(&[]);
    assert_passes(&doctor(&cluster, &url, &[]), "database durability", &["survive a crash"]);
    cluster.query(&format!("ALTER DATABASE {} SET synchronous_commit = off", cluster.database));
    assert_fails(&doctor(&cluster, &url, &[]), "database durability", &["synchronous_commit", "set it to on"]);
    cluster.replica(&[]).wait_for_log(&["WARN", "may lose acknowledged changes", "synchronous_commit"]);
    cluster.query(&format!("ALTER DATABASE {} SET synchronous_commit = on", cluster.database));
    assert_passes(&doctor(&cluster, &url, &[]), "database durability", &["survive a crash"]);

    let latin = format!("{}_latin", cluster.database);
    cluster.query(&format!("CREATE DATABASE {latin} TEMPLATE template0 ENCODING 'LATIN1'"));
    let url = cluster.postgres.url(&latin);
    let report = doctor(&cluster, &url, &[]);
    assert_fails(&report, "database", &["encoding LATIN1", "ENCODING 'UTF8'"]);
    let migrated = run(cluster.command(&["migrate"]).env("MINTKEY_DATABASE_URL", &url));
    let stderr = String::from_utf8(migrated.stderr).unwrap();
    assert!(!migrated.status.success() && stderr.contains("LATIN1"), "{stderr}");
    let (utf8, create) = (format!("{latin}_utf8"), advice(&report, "in UTF8: ", "\n"));
    cluster.query(&create.replace("DATABASE mintkey", &format!("DATABASE {utf8}")));
    let url = cluster.postgres.url(&utf8);
    succeed(
        cluster.command(&["migrate"]).env("MINTKEY_DATABASE_URL", &url).env("MINTKEY_DATA_DIR", cluster.data.path()),
    );
    let other = cluster.data.path().join("other");
    let report = doctor(&cluster, &url, &["--data-dir", other.to_str().unwrap()]);
    assert_passes(&report, "database", &["up to date"]);
}

#[test]
fn every_command_rejects_unknown_parameter_of_url() {
    let cluster = migrated(Cluster::new());
    assert_passes(&doctor(&cluster, &url_as(&cluster, "postgres"), &[]), "database encryption", &["not encrypted"]);
    let url = format!("{}?sslmod=verify-full", url_as(&cluster, "postgres"));
    assert_fails(&doctor(&cluster, &url, &[]), "database", &["`sslmod`", "sslmode, sslrootcert"]);
    for command in [&["migrate"][..], &["keys", "list"]] {
        let output = run(cluster.command(command).env("MINTKEY_DATABASE_URL", &url));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains("`sslmod`"), "{stderr}");
    }
}

#[test]
fn doctor_fails_on_clock_that_differs_from_the_databases() {
    let cluster = migrated(Cluster::new());
    let url = url_as(&cluster, "postgres");
    assert_passes(&doctor(&cluster, &url, &[]), "clock", &["it shows"]);
    for (offset, words) in [
        ("-300s", ["clock of PostgreSQL is", "seconds ahead", "NTP"]),
        ("+300s", ["clock of PostgreSQL is", "seconds behind", "NTP"]),
    ] {
        let mut command = cluster.command(&["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]);
        command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1").env("FAKETIME", offset);
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        assert_fails(&run_doctor(command.env("MINTKEY_DATABASE_URL", &url)), "clock", &words);
    }
}

#[test]
fn doctor_says_how_to_configure_pooler_that_refuses_settings() {
    let cluster = migrated(Cluster::new());
    let through = |settings: &[&str]| {
        let pooler = start_pgbouncer_with(&cluster.postgres, settings);
        doctor(&cluster, &pooler.url(&cluster.database), &[])
    };
    let report = through(&[]);
    assert_fails(
        &report,
        "database",
        &["is a pooler that refuses mintkey's settings", "connect to PostgreSQL directly"],
    );
    let settings: Vec<_> = advice(&report, "or set ", " in PgBouncer").split(" and ").collect();
    assert_eq!(settings.len(), 2, "{settings:?}");
    assert_passes(&through(&settings), "database", &["up to date"]);
}
