//! Schema: replicas that start concurrently, and binaries older than the schema.

use std::process::{Child, Stdio};

use crate::cluster::Cluster;
use crate::support::run;

#[tokio::test]
async fn replicas_start_together_on_empty_database() {
    let cluster = Cluster::new();
    let servers = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(|| cluster.replica(&[]))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
    });
    let alice = servers[0].token("alice");
    for server in &servers {
        server.create_key_from(&alice, serde_json::json!({ "name": "k" })).await;
    }
    assert_eq!(cluster.query("SELECT count(*) FROM api_keys"), "3");
    assert_eq!(cluster.query("SELECT count(*) FROM peppers"), "1");
}

#[test]
fn migrations_run_concurrently_are_applied_once() {
    let cluster = Cluster::new();
    let migrations: Vec<Child> = (0..8)
        .map(|_| cluster.command(&["migrate"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for migration in migrations {
        let output = migration.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let (applied, version) = ("SELECT count(*) FROM seaql_migrations", "SELECT version FROM schema_version");
    assert_eq!(cluster.query(applied), cluster.query(version));
}

#[tokio::test]
async fn newer_schema_is_used_if_compatible_and_else_refused() {
    let cluster = Cluster::new();
    assert!(run(&mut cluster.command(&["migrate"])).status.success());
    // The state after a migration of a later release that only adds something.
    cluster.query("INSERT INTO seaql_migrations VALUES ('m9999_of_a_later_release', 0)");
    cluster.query("UPDATE schema_version SET version = version + 1");
    let server = cluster.replica(&[]);
    server.create_key_from(&server.token("alice"), serde_json::json!({ "name": "k" })).await;

    cluster.query("UPDATE schema_version SET min_binary_version = version");
    for command in ["migrate", "serve"] {
        let output = run(cluster.command(&[command]).args(if command == "serve" {
            &["--listen", "127.0.0.1:0"][..]
        } else {
            &[]
        }));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains("newer mintkey"), "{stderr}");
    }
    // A running replica continues: a migration that removes something waits until no running release needs it.
    server.create_key_from(&server.token("alice"), serde_json::json!({ "name": "k" })).await;
}

#[test]
fn replica_with_other_master_secret_is_refused() {
    let cluster = Cluster::new();
    assert!(run(&mut cluster.command(&["migrate"])).status.success());
    let secrets = ["a", "b"].map(|letter| letter.repeat(32));
    let starts: Vec<Child> = secrets
        .iter()
        .map(|secret| {
            let create = ["keys", "create", "--owner", "alice", "--name", "k", "--master-secret", secret];
            let mut command = cluster.command(&create);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let outputs: Vec<_> = starts.into_iter().map(|start| start.wait_with_output().unwrap()).collect();
    assert_eq!(outputs.iter().filter(|output| output.status.success()).count(), 1, "{outputs:?}");
    assert_eq!(cluster.query("SELECT count(*) FROM peppers"), "1");
}

#[test]
fn unreachable_database_is_reported_without_password() {
    let cluster = Cluster::new();
    let port = crate::support::postgres::free_port();
    for url in [
        format!("postgres://mint:canary@127.0.0.1:{port}/mintkey"),
        format!("postgres://postgres:canary@127.0.0.1:{}/nowhere", cluster.postgres.port),
        format!("postgres://postgres:canary@127.0.0.1:{}/{}?sslmode=require", cluster.postgres.port, cluster.database),
    ] {
        let output = run(cluster.command(&["migrate"]).env("MINTKEY_DATABASE_URL", url));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.starts_with("mintkey: "), "{stderr}");
        assert!(stderr.contains("--database-url") && !stderr.contains("canary"), "{stderr}");
    }
}
