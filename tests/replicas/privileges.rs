//! Privileges: `migrate` runs as the owner of the tables and `serve` as a user who owns nothing, as docs/replicas.md says.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, tokens};
use crate::support::doctor::{advice, assert_fails, assert_passes, run_doctor};
use crate::support::postgres::{Postgres, program};
use crate::support::{KEYS, Response, Server, eventually, id, run, secret, succeed};

/// Runs the statements of the documentation. Nothing is migrated yet.
fn documented() -> Cluster {
    let postgres = Postgres::start(&[]);
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/replicas.md")).unwrap();
    let blocks = docs.split("```sql\n").skip(1).filter_map(|block| block.split("```").next());
    let statements = blocks.into_iter().find(|block| block.contains("CREATE ROLE mintkey_owner")).unwrap();
    let data = tempfile::tempdir().unwrap();
    std::fs::set_permissions(data.path(), Permissions::from_mode(0o700)).unwrap();
    let file = data.path().join("setup.sql");
    std::fs::write(&file, statements).unwrap();
    let mut psql = Command::new(program("psql"));
    psql.args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--file"]).arg(&file).arg(postgres.url("postgres"));
    succeed(&mut psql);
    Cluster { postgres: postgres.into(), database: "mintkey".into(), data }
}

fn url_as(cluster: &Cluster, user: &str) -> String {
    cluster.postgres.url(&cluster.database).replacen("postgres@", &format!("{user}@"), 1)
}

fn migrate_as(cluster: &Cluster, user: &str) -> std::process::Output {
    run(cluster.command(&["migrate"]).env("MINTKEY_DATABASE_URL", url_as(cluster, user)))
}

fn migrated() -> Cluster {
    let cluster = documented();
    let migrated = migrate_as(&cluster, "mintkey_owner");
    assert!(migrated.status.success(), "{migrated:?}");
    cluster
}

fn query_as_owner(cluster: &Cluster, sql: &str) {
    succeed(
        Command::new(program("psql"))
            .args(["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--command", sql])
            .arg(url_as(cluster, "mintkey_owner")),
    );
}

fn serve(cluster: &Cluster) -> Server {
    cluster.replica_with_url(&url_as(cluster, "mintkey"), &[])
}

fn doctor(cluster: &Cluster) -> (String, bool) {
    let mut command = cluster.command(&["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]);
    run_doctor(command.env("MINTKEY_DATABASE_URL", url_as(cluster, "mintkey")))
}

/// The error with which `serve` does not start.
fn refused_start(cluster: &Cluster) -> String {
    let mut serve = cluster.command(&["serve", "--listen", "127.0.0.1:0"]);
    let output = run(serve.env("MINTKEY_DATABASE_URL", url_as(cluster, "mintkey")));
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn documented_users_serve_every_operation() {
    let cluster = documented();
    let before = "may not create tables in the schema public";
    assert_fails(&doctor(&cluster), "database", &[before, "`mintkey migrate`"]);
    assert!(refused_start(&cluster).contains(before));
    assert!(migrate_as(&cluster, "mintkey_owner").status.success());
    assert_passes(&doctor(&cluster), "database", &["up to date"]);
    let server = serve(&cluster);
    let (gateway, alice) = tokens(&server);
    let create = || {
        server
            .request(reqwest::Method::POST, KEYS, &alice)
            .header("idempotency-key", "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11")
    };
    let created = Response::to(create().json(&json!({ "name": "k" }))).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let repeated = Response::to(create().json(&json!({ "name": "k" }))).await;
    assert_eq!(repeated.body, created.body);
    let key = created.body;
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    let written = async || (cluster.query("SELECT count(*) FROM key_usage") == "1").then_some(());
    eventually(Duration::from_secs(10), "usage", written).await;
    assert_eq!(server.patch(id(&key), &alice, json!({ "name": "n" })).await.status, 200);
    assert_eq!(server.rotate(id(&key), &alice, json!({})).await.status, 201);
    assert_eq!(server.revoke(id(&key), &alice, Value::Null).await.status, 200);
    assert_eq!(server.delete(id(&key), &alice).await.status, 204);
    assert_eq!(server.get("/readyz?for=changes", "").await.status, 200);
    assert!(!server.log().contains("ERROR") && !server.log().contains("denied"), "{}", server.log());
}

#[tokio::test]
async fn missing_privilege_is_503_until_granted_as_doctor_says() {
    let cluster = migrated();
    let server = serve(&cluster);
    let alice = server.token("alice");
    let key = server.create_key(&alice, &[]).await;
    // As if a release had added the table, and no default privileges had been given.
    let revoked = "REVOKE ALL ON TABLES FROM mintkey";
    query_as_owner(&cluster, &format!("ALTER DEFAULT PRIVILEGES IN SCHEMA public {revoked}"));
    query_as_owner(&cluster, "REVOKE DELETE, INSERT ON key_change_events FROM mintkey");
    let refused = server.revoke(id(&key), &alice, Value::Null).await;
    assert!(refused.assert_problem(503).contains("a privilege on a table is missing"), "{}", refused.text);
    let words = ["key_change_events", "permission denied", refused.header("x-request-id").unwrap()];
    server.wait_for_log(&[&["WARN"][..], &words].concat());
    let changes = async |status: u16| {
        let response = async || {
            let response = server.get("/readyz?for=changes", "").await;
            (response.status == status).then_some(response)
        };
        eventually(Duration::from_secs(10), "readiness for changes", response).await
    };
    assert!(changes(503).await.text.contains("a privilege on a table is missing"));
    assert_eq!(server.get("/readyz", "").await.status, 200);

    let report = doctor(&cluster);
    let lacking = "the user mintkey lacks privileges: DELETE, INSERT on key_change_events; run as mintkey_owner: GRANT";
    assert_fails(&report, "database", &[lacking, "ALTER DEFAULT PRIVILEGES FOR ROLE mintkey_owner IN SCHEMA public"]);
    assert!(refused_start(&cluster).contains(lacking));
    query_as_owner(&cluster, advice(&report, "run as mintkey_owner: ", "; and for"));
    query_as_owner(&cluster, advice(&report, "of later releases: ", "\n"));
    assert_passes(&doctor(&cluster), "database", &["up to date"]);
    changes(200).await;
    assert_eq!(server.revoke(id(&key), &alice, Value::Null).await.status, 200);
    query_as_owner(&cluster, "CREATE TABLE of_a_later_release (id int)");
    for privilege in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
        let has = format!("SELECT has_table_privilege('mintkey', 'of_a_later_release', '{privilege}')");
        assert_eq!(cluster.query(&has), "t", "{privilege}");
    }
}

#[tokio::test]
async fn pending_migrations_are_left_to_the_owner_of_the_tables() {
    let cluster = migrated();
    cluster.query("UPDATE schema_version SET version = version - 1");
    let pending = "1 migrations are pending, and the user mintkey does not own the tables";
    let report = doctor(&cluster);
    assert_fails(&report, "database", &[pending, "run `mintkey migrate` with the URL of their owner"]);
    assert!(refused_start(&cluster).contains(pending));
    let owner = advice(&report, "their owner, ", "\n").to_owned();
    assert!(migrate_as(&cluster, &owner).status.success());
    assert_passes(&doctor(&cluster), "database", &["up to date"]);
    let server = serve(&cluster);
    server.create_key(&server.token("alice"), &[]).await;
}
