//! A line taken out of the master secret: noticed at start while stored secrets depend on it, and forgotten when none do.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mintkey::domain::secret_hash::Pepper;
use serde_json::{Value, json};

use crate::support::{Server, eventually, id, mintkey_at, prepared, run, secret, succeed};

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";
const ALLOW: &str = "--allow-missing-master-secret";

fn start(data: &Path, lines: &[&str], arguments: &[&str]) -> Server {
    Server::start_in(data, &[&["--master-secret", &lines.join("\n")], arguments].concat())
}

fn start_error(data: &Path, lines: &[&str]) -> String {
    let mut serve = mintkey_at(data);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--master-secret", &lines.join("\n")]);
    let output = run(&mut serve);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && !error.contains(OLD) && !error.contains(NEW), "{error}");
    error
}

/// The line of doctor's report on the master secret.
fn doctor(data: &Path, lines: &[&str], arguments: &[&str]) -> String {
    let mut doctor: Command = mintkey_at(data);
    doctor.args(["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]);
    let output = run(doctor.args(["--master-secret", &lines.join("\n")]).args(arguments));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(!report.contains(OLD) && !report.contains(NEW), "{report}");
    report.lines().find(|line| line.contains("master secret: ")).unwrap_or_else(|| panic!("{report}")).to_owned()
}

fn pepper(master_secret: &str) -> String {
    Pepper::derive(master_secret).id().to_owned()
}

async fn registered(server: &Server) -> Vec<String> {
    let rows = server.rows("SELECT id FROM peppers ORDER BY first_used_at").await;
    rows.iter().map(|row| row.try_get("", "id").unwrap()).collect()
}

/// Creates these keys under the old master secret: one that is not verified again, one of each kind that cannot be
/// verified any more, one with a rotated secret in its grace.
async fn create_old_keys(data: &Path) -> (Server, Value, Value, String) {
    let server = start(data, &[OLD], &[]);
    let alice = server.token("alice");
    let mut keys = Vec::new();
    for name in ["unused", "revoked", "deleted", "rotated"] {
        keys.push(server.create_key_from(&alice, json!({ "name": name })).await);
    }
    server.revoke(id(&keys[1]), &alice, Value::Null).await;
    server.delete(id(&keys[2]), &alice).await;
    let rotated = server.rotate(id(&keys[3]), &alice, json!({ "grace_seconds": 3600 })).await.body;
    assert_eq!(server.count("rotated_secrets").await, 1, "{rotated}");
    (server, keys.remove(0), rotated, alice)
}

#[tokio::test]
async fn serve_refuses_missing_master_secret_while_keys_need_it() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let (mut server, unused, rotated, alice) = create_old_keys(data).await;
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    assert!(server.terminate().success());
    assert_eq!(
        doctor(data, &[OLD], &[]),
        format!(
            "ok    master secret: readable, and matches the database; stored secrets by pepper: {} (line 1): 3",
            pepper(OLD)
        )
    );

    let mut both = start(data, &[NEW, OLD], &[]);
    both.create_key(&alice, &[]).await;
    assert_eq!(registered(&both).await, [pepper(OLD), pepper(NEW)]);
    assert!(both.terminate().success());
    let report = doctor(data, &[NEW, OLD], &[]);
    assert!(report.contains(&format!("{} (line 2): 3, {} (line 1): 1", pepper(OLD), pepper(NEW))), "{report}");

    let error = start_error(data, &[NEW]);
    for word in ["3 stored secrets", &format!("pepper {}: 3", pepper(OLD)), ALLOW, "MINTKEY_MASTER_SECRET_FILE"] {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    let report = doctor(data, &[NEW], &[]);
    assert!(
        report.starts_with("FAIL") && report.contains("3 stored secrets") && report.contains("not given"),
        "{report}"
    );
    assert!(doctor(data, &[NEW], &[ALLOW]).starts_with("ok"));

    let mut without = start(data, &[NEW], &[ALLOW]);
    without.wait_for_log(&["WARN", "depend on a master secret", "secrets=3", &pepper(OLD)]);
    assert_eq!(without.verify_code(&gateway, secret(&unused)).await, "NOT_FOUND");
    assert_eq!(registered(&without).await, [pepper(OLD), pepper(NEW)], "still depended on");
    assert!(without.terminate().success());

    // Verified again under the old line: nothing is lost.
    let mut both = start(data, &[NEW, OLD], &[]);
    for key in [&unused, &rotated] {
        assert_eq!(both.verify_code(&gateway, secret(key)).await, "VALID");
    }
    assert!(both.terminate().success());
    assert!(start_error(data, &[NEW]).contains("1 stored secrets"), "the rotated secret in its grace");
}

/// A new one would be taken for the right one by a backup of the directory.
#[tokio::test]
async fn serve_generates_no_master_secret_for_a_database_with_keys() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let mut server = Server::start_in(data, &[]);
    server.create_key(&server.token("alice"), &[]).await;
    assert!(server.terminate().success());
    std::fs::rename(data.join("master.secret"), data.join("kept")).unwrap();

    let output = run(mintkey_at(data).args(["serve", "--listen", "127.0.0.1:0"]));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("restore") && error.contains("master.secret"), "{error}");
    assert!(!data.join("master.secret").exists());
}

#[tokio::test]
async fn master_secret_that_nothing_needs_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let mut old = start(data, &[OLD], &[]);
    let (gateway, alice) = (old.token_with("gateway", &["--scopes", "api-keys:verify"]), old.token("alice"));
    let key = old.create_key(&alice, &[]).await;
    let revoked = old.create_key(&alice, &[]).await;
    old.revoke(id(&revoked), &alice, Value::Null).await;
    assert!(old.terminate().success());
    let mut both = start(data, &[NEW, OLD], &[]);
    assert_eq!(both.verify_code(&gateway, secret(&key)).await, "VALID");
    assert!(both.terminate().success());

    let mut new = start(data, &[NEW], &[]);
    new.wait_for_log(&["counting the secrets"]);
    assert_eq!(registered(&new).await, [pepper(OLD), pepper(NEW)], "another replica may still use it");
    new.execute("UPDATE peppers SET first_used_at = '2026-01-01T00:00:00+00:00'").await;
    new.execute(&format!(
        "UPDATE peppers SET first_used_at = '2026-01-02T00:00:00+00:00' WHERE id = '{}'",
        pepper(NEW)
    ))
    .await;
    assert!(new.terminate().success());

    let mut later = start(data, &[NEW], &[]);
    assert_eq!(registered(&later).await, [pepper(NEW)]);
    assert_eq!(later.verify_code(&gateway, secret(&key)).await, "VALID");
    assert!(later.terminate().success());
    let again = start(data, &[NEW], &[]);
    assert!(!again.log().contains("counting the secrets"), "{}", again.log());
    assert_eq!(again.verify_code(&gateway, secret(&key)).await, "VALID");
}

#[tokio::test]
async fn later_master_secret_is_not_forgotten_by_replica_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let mut old = start(data, &[OLD], &[]);
    assert!(old.terminate().success());
    let mut new = start(data, &[NEW, OLD], &[]);
    assert!(new.terminate().success());
    let old = start(data, &[OLD], &[]);
    assert_eq!(registered(&old).await, [pepper(OLD), pepper(NEW)]);
}

#[tokio::test]
async fn foreign_master_secret_is_refused_even_without_keys() {
    let directory = tempfile::tempdir().unwrap();
    let mut old = start(directory.path(), &[OLD], &[]);
    assert!(old.terminate().success());
    assert!(start_error(directory.path(), &[NEW]).contains(ALLOW));
    for arguments in [&["keys", "list"][..], &["keys", "create", "--owner", "a", "--name", "k"]] {
        let mut keys = mintkey_at(directory.path());
        let output = run(keys.args(arguments).args(["--master-secret", NEW]));
        assert!(!output.status.success(), "{arguments:?}");
    }
    let new = start(directory.path(), &[NEW], &[ALLOW]);
    assert_eq!(registered(&new).await.last(), Some(&pepper(NEW)));
}

#[tokio::test]
async fn metric_counts_secrets_while_several_peppers_exist() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let (mut server, ..) = create_old_keys(data).await;
    assert!(!server.get("/metrics", "").await.text.contains("mintkey_stored_secrets{"));
    assert!(server.terminate().success());
    let both = start(data, &[NEW, OLD], &[]);
    let line = format!("mintkey_stored_secrets{{pepper=\"{}\"}} 3", pepper(OLD));
    let counted = async || both.get("/metrics", "").await.text.contains(&line).then_some(());
    eventually(Duration::from_secs(10), &line, counted).await;
}

#[test]
fn keys_command_registers_the_pepper_it_uses() {
    let directory = prepared();
    let create = ["keys", "create", "--owner", "alice", "--name", "k"];
    succeed(mintkey_at(directory.path()).args(create).args(["--master-secret", OLD]));
    assert!(start_error(directory.path(), &[NEW]).contains("master secret"));
}
