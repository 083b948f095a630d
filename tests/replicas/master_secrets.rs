//! Replicas in the middle of the replacement of a master secret: each has another first line.

use serde_json::{Value, json};

use crate::cluster::{Cluster, tokens};
use crate::support::{Server, id, run, secret};

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";

struct Replicas {
    cluster: Cluster,
    old_first: Server,
    new_first: Server,
    gateway: String,
    alice: String,
}

fn start() -> Replicas {
    let cluster = Cluster::new();
    let old_first = cluster.replica(&["--master-secret", &format!("{OLD}\n{NEW}")]);
    let new_first = cluster.replica(&["--master-secret", &format!("{NEW}\n{OLD}")]);
    let (gateway, alice) = tokens(&old_first);
    Replicas { cluster, old_first, new_first, gateway, alice }
}

#[tokio::test]
async fn replicas_with_other_first_lines_rehash_at_most_once() {
    let Replicas { cluster, old_first, new_first, gateway, alice } = start();
    cluster.query(
        "CREATE TABLE rehashes (key_id uuid);
         CREATE FUNCTION log_rehash() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO rehashes VALUES (NEW.id); RETURN NEW; END';
         CREATE TRIGGER log_rehash AFTER UPDATE OF secret_hash ON api_keys FOR EACH ROW EXECUTE FUNCTION log_rehash()",
    );
    let mut keys = Vec::new();
    for server in [&old_first, &new_first, &old_first, &new_first] {
        keys.push(server.create_key(&alice, &[]).await);
    }
    for round in 0..100 {
        for (number, key) in keys.iter().enumerate() {
            let server = if (round + number) % 2 == 0 { &old_first } else { &new_first };
            assert_eq!(server.verify_code(&gateway, secret(key)).await, "VALID", "round {round}, key {number}");
        }
    }
    assert_eq!(cluster.query("SELECT count(*) FROM rehashes"), "2", "each key of the old pepper, once");
    assert_eq!(cluster.query("SELECT count(DISTINCT secret_pepper_id) FROM api_keys"), "1");
}

#[tokio::test]
async fn revocation_reaches_replica_whose_first_line_is_other() {
    let Replicas { old_first, new_first, gateway, alice, .. } = start();
    for maker in [&old_first, &new_first] {
        let keys = [maker.create_key(&alice, &[]).await, maker.create_key(&alice, &[]).await];
        for key in &keys {
            for server in [&old_first, &new_first, &old_first] {
                assert_eq!(server.verify_code(&gateway, secret(key)).await, "VALID");
            }
        }
        for (key, revoker) in keys.iter().zip([&old_first, &new_first]) {
            assert_eq!(revoker.revoke(id(key), &alice, Value::Null).await.status, 200);
            // At once where it was revoked.
            assert_eq!(revoker.verify_code(&gateway, secret(key)).await, "REVOKED");
            for server in [&old_first, &new_first] {
                let now = std::time::Instant::now();
                crate::cluster::wait_for_code(server, &gateway, secret(key), "REVOKED", now).await;
            }
        }
    }
}

#[tokio::test]
async fn key_of_later_pepper_is_cached_and_survives_an_outage() {
    let cluster = Cluster::with_own_postgres();
    let old_first = cluster.replica(&["--master-secret", &format!("{OLD}\n{NEW}")]);
    let new_first = cluster.replica(&["--master-secret", &format!("{NEW}\n{OLD}")]);
    let (gateway, alice) = tokens(&old_first);
    let key = new_first.create_key(&alice, &[]).await;
    assert_eq!(old_first.verify_code(&gateway, secret(&key)).await, "VALID");
    cluster.postgres.stop_immediately();
    for _ in 0..5 {
        let response = old_first.verify(&gateway, json!({ "key": secret(&key) })).await;
        assert_eq!(response.body["code"], "VALID", "{}", response.text);
    }
}

#[test]
fn commands_on_empty_database_create_no_table() {
    let cluster = Cluster::new();
    for arguments in [&["keys", "list"][..], &["keys", "create", "--owner", "a", "--name", "k"]] {
        let output = run(cluster.command(arguments).args(["--master-secret", OLD]));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains("with `mintkey migrate`"), "{error}");
    }
    assert_eq!(cluster.query("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), "0");
}
