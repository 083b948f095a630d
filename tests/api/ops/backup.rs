//! Backup: a restored database equals the original, and keys revoked after the backup stay revoked.

mod sqlite;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mintkey::domain::clock::Clock;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};

use crate::support::database::{self, Kind};
use crate::support::postgres::program;
use crate::support::{Server, id, mintkey_at, prepared, run, secret, succeed, unknown_key};

/// Backs up the database of a running server.
fn back_up(server: &Server, to: &Path) -> PathBuf {
    let copy = to.join("copy");
    match database::kind() {
        Kind::Sqlite => succeed(mintkey_at(&server.data).args(["backup", "--to"]).arg(&copy)),
        Kind::Postgres => {
            let mut dump = Command::new(program("pg_dump"));
            succeed(dump.args(["--format=custom", "--file"]).arg(&copy).arg(database::url(&server.data)))
        }
    };
    copy
}

fn backup_position(data: &Path) -> String {
    succeed(mintkey_at(data).args(["keys", "backup-position"])).trim().to_owned()
}

fn export_revocations(data: &Path, arguments: &[&str]) -> String {
    succeed(mintkey_at(data).args(["keys", "export-revocations"]).args(arguments))
}

/// Restores a backup and these secrets into a new data directory.
fn restore(copy: &Path, secrets: &[&Path], data: &Path) {
    fs::create_dir_all(data).unwrap();
    for secret in secrets {
        fs::copy(secret, data.join(secret.file_name().unwrap())).unwrap();
    }
    match database::kind() {
        Kind::Sqlite => drop(fs::copy(copy, data.join("mintkey.db")).unwrap()),
        Kind::Postgres => {
            let mut restore = Command::new(program("pg_restore"));
            restore.args(["--clean", "--if-exists", "--no-owner", "--dbname", &database::url(data)]);
            succeed(restore.arg(copy));
        }
    }
}

#[tokio::test]
async fn backup_restored_with_revocation_log_revives_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start();
    let (gateway, alice) = (server.token_with("gateway", &["--scopes", "api-keys:verify"]), server.token("alice"));
    let mut keys = Vec::new();
    for name in ["stays", "revoked", "deleted", "rotated", "disabled", "narrowed", "revoked before"] {
        keys.push(server.create_key_from(&alice, json!({ "name": name, "scopes": ["a", "b"] })).await);
    }
    let [stays, revoked, deleted, rotated, disabled, narrowed, revoked_before] = &keys[..] else { panic!() };
    server.revoke(id(revoked_before), &alice, Value::Null).await;

    let since = backup_position(&server.data);
    let copy = back_up(&server, directory.path());
    server.revoke(id(revoked), &alice, Value::Null).await;
    server.delete(id(deleted), &alice).await;
    let new = server.rotate(id(rotated), &alice, json!({ "grace_seconds": 0 })).await.body;
    server.patch(id(disabled), &alice, json!({ "enabled": false })).await;
    server.patch(id(narrowed), &alice, json!({ "scopes": ["a"] })).await;
    let made_after = server.create_key_from(&alice, json!({ "name": "made after" })).await;
    server.revoke(id(&made_after), &alice, Value::Null).await;
    let revocation_log = directory.path().join("revocations");
    let lines = export_revocations(&server.data, &["--since", &since]);
    // Without a position, it contains what the backup does, too.
    let all = export_revocations(&server.data, &[]);
    assert!(all.ends_with(&lines) && all.contains(id(revoked_before)) && !lines.contains(id(revoked_before)), "{all}");
    fs::write(&revocation_log, &all).unwrap();
    for key in &keys {
        assert!(!lines.contains(&secret(key)[3..]), "{lines}");
    }

    let data = directory.path().join("restored");
    let secrets = ["master.secret", "signing.key"].map(|name| server.data.join(name));
    restore(&copy, &secrets.each_ref().map(|path| &**path), &data);
    for _ in 0..2 {
        let output_text = succeed(mintkey_at(&data).args(["keys", "apply-revocations"]).arg(&revocation_log));
        assert!(output_text.contains("1 name a key that does not exist here"), "{output_text}");
        assert!(output_text.contains("1 are changes that this database has"), "{output_text}");
    }
    let restored = Server::start_in(&data, &[]);
    for (key, code) in [
        (stays, "VALID"),
        (revoked, "REVOKED"),
        (deleted, "REVOKED"),
        (rotated, "REVOKED"),
        (&new, "NOT_FOUND"),
        (disabled, "DISABLED"),
        (narrowed, "DISABLED"),
        (revoked_before, "REVOKED"),
        (&made_after, "NOT_FOUND"),
    ] {
        assert_eq!(restored.verify_code(&gateway, secret(key)).await, code, "{}", key["name"]);
    }
    assert_eq!(restored.audit_actions(id(revoked)).await, ["created", "revoked"], "once, though applied twice");
    assert_eq!(restored.audit_actions(id(deleted)).await, ["created", "revoked", "deleted"]);
    assert_eq!(restored.get(&format!("/api/auth/api-keys/{}", id(deleted)), &alice).await.status, 404);
    restored.assert_integrity().await;
}

/// The commands of a section of docs/backup.md for the database of this run.
fn documented(section: &str) -> String {
    let page = include_str!("../../../docs/backup.md");
    let (_, section) = page.split_once(&format!("\n## {section}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let other = ["# PostgreSQL", "# SQLite"][database::kind() as usize];
    let commands = section.lines().filter_map(|line| line.strip_prefix("$ ")).filter(|line| !line.contains(other));
    commands.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn documented_commands_restore_without_reviving_a_key() {
    let directory = tempfile::tempdir().unwrap();
    let [data, lost] = ["data", "lost"].map(|name| directory.path().join(name));
    let mut server = Server::start_in(&data, &[]);
    let (gateway, alice) = (server.token_with("gateway", &["--scopes", "api-keys:verify"]), server.token("alice"));
    let (stays, revoked) = (server.create_key(&alice, &[]).await, server.create_key(&alice, &[]).await);
    let run_documented = |section: &str, data_of_database: &Path| {
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", &documented(section)])
            .current_dir(directory.path())
            .env("MINTKEY_MASTER_SECRET_FILE", "data/master.secret");
        let mintkey = Path::new(mintkey_at(&data).get_program()).parent().unwrap().to_owned();
        let mut path = format!("{}:{}", mintkey.display(), std::env::var("PATH").unwrap());
        if database::kind() == Kind::Postgres {
            path = format!("{}:{path}", program("pg_dump").parent().unwrap().display());
            shell.env("MINTKEY_DATABASE_URL", database::url(data_of_database));
        }
        succeed(shell.env("PATH", path))
    };
    run_documented("Back up", &data);
    server.revoke(id(&revoked), &alice, Value::Null).await;
    run_documented("Export revocations", &data);

    assert!(server.terminate().success());
    fs::rename(&data, &lost).unwrap();
    fs::create_dir(&data).unwrap();
    for name in ["master.secret", "signing.key"] {
        fs::copy(lost.join(name), data.join(name)).unwrap();
    }
    let restored = directory.path().join("restored");
    run_documented("Restore", &restored);
    if database::kind() == Kind::Postgres {
        fs::rename(&data, &restored).unwrap();
    }
    let data = if database::kind() == Kind::Postgres { &restored } else { &data };
    let server = Server::start_in(data, &[]);
    assert_eq!(server.verify_code(&gateway, secret(&stays)).await, "VALID");
    assert_eq!(server.verify_code(&gateway, secret(&revoked)).await, "REVOKED");
}

/// One clock is right, goes back by an hour before the second revocation, and is right again.
#[tokio::test]
async fn export_contains_revocations_of_a_clock_that_goes_back() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start();
    let (gateway, alice) = (server.token_with("gateway", &["--scopes", "api-keys:verify"]), server.token("alice"));
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(server.create_key(&alice, &[]).await);
    }
    let since = backup_position(&server.data);
    let copy = back_up(&server, directory.path());
    for (number, key) in keys.iter().enumerate() {
        server.revoke(id(key), &alice, Value::Null).await;
        if number == 1 {
            let (event, key) = (database::uuid("0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11"), database::uuid(id(key)));
            let earlier = format!("(SELECT created_at FROM api_keys WHERE id = {key})");
            let go_back = format!("SET id = {event}, occurred_at = {earlier} WHERE key_id = {key}");
            server.execute(&format!("UPDATE key_change_events {go_back}")).await;
        }
    }
    let revocation_log = directory.path().join("revocations");
    fs::write(&revocation_log, export_revocations(&server.data, &["--since", &since])).unwrap();

    let data = directory.path().join("restored");
    let secrets = ["master.secret", "signing.key"].map(|name| server.data.join(name));
    restore(&copy, &secrets.each_ref().map(|path| &**path), &data);
    let applied = succeed(mintkey_at(&data).args(["keys", "apply-revocations"]).arg(&revocation_log));
    assert!(applied.starts_with("3 entries revoked a key"), "{applied}");
    let restored = Server::start_in(&data, &[]);
    for key in &keys {
        assert_eq!(restored.verify_code(&gateway, secret(key)).await, "REVOKED");
    }
}

/// PostgreSQL numbers a transaction when it begins to write. SQLite has one writer, which numbers the events.
#[tokio::test]
async fn export_contains_what_was_being_written_during_the_backup() {
    if database::kind() == Kind::Sqlite {
        return;
    }
    let server = Server::start();
    let alice = server.token("alice");
    let (slow, fast) = (server.create_key(&alice, &[]).await, server.create_key(&alice, &[]).await);
    let running = server.database().await.begin().await.unwrap();
    let event = format!(
        "INSERT INTO key_change_events (id, occurred_at, action, actor_kind, actor_issuer, actor_subject, key_id,
            owner_issuer, owner_subject, owner_organization, request_id, changes)
        SELECT gen_random_uuid(), created_at, 'revoked', 'user', owner_issuer, owner_subject, id,
            owner_issuer, owner_subject, owner_organization, 'r', '{{}}' FROM api_keys WHERE id = '{}'",
        id(&slow)
    );
    running.execute_unprepared(&event).await.unwrap();
    let since = backup_position(&server.data);
    server.revoke(id(&fast), &alice, Value::Null).await;
    assert!(!export_revocations(&server.data, &["--since", &since]).contains(id(&slow)));
    running.commit().await.unwrap();
    let lines = export_revocations(&server.data, &["--since", &since]);
    assert!(lines.contains(id(&slow)) && lines.contains(id(&fast)), "{lines}");
    assert_eq!(export_revocations(&server.data, &["--since", &backup_position(&server.data)]), "");
}

#[test]
fn export_since_what_is_no_position_of_the_database_is_refused() {
    let data = prepared();
    for (since, words) in [
        ("9000000000000000000", ["--since 9000000000000000000 is later than the position", "take a new backup"]),
        ("2026-11-30T00:00:00Z", ["2026-11-30T00:00:00Z", "backup-position"]),
        ("", ["--since", "backup-position"]),
    ] {
        let output = run(mintkey_at(data.path()).args(["keys", "export-revocations", "--since", since]));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[tokio::test]
async fn backup_without_master_secret_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start();
    server.create_key(&server.token("alice"), &[]).await;
    let copy = back_up(&server, directory.path());
    let data = directory.path().join("restored");
    restore(&copy, &[], &data);
    let output = run(mintkey_at(&data).args(["serve", "--listen", "127.0.0.1:0"]));
    let output_text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output_text.contains("master secret"), "{output_text}");
}

#[test]
fn apply_revocations_names_the_line_it_cannot_read() {
    let data = prepared();
    let revocation_log = data.path().join("revocations");
    let mut apply = mintkey_at(data.path());
    apply.args(["keys", "apply-revocations"]).arg(&revocation_log);
    fs::write(&revocation_log, "garbage\n").unwrap();
    let output_text = String::from_utf8(run(&mut apply).stderr).unwrap();
    assert!(output_text.contains("line 1"), "{output_text}");

    fs::write(&revocation_log, "\u{feff}{}\n").unwrap();
    let output_text = String::from_utf8(run(&mut apply).stderr).unwrap();
    assert!(output_text.contains("line 1: it contains a byte-order mark"), "{output_text}");

    let unknown = unknown_key();
    let entry = json!({ "at": Clock::System.now(), "event_id": unknown, "key_id": unknown, "action": "moved" });
    fs::write(&revocation_log, entry.to_string()).unwrap();
    let output = run(&mut apply);
    let output_text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output_text.contains("line 1: unknown action \"moved\""), "{output_text}");
}
