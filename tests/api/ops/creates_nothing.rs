//! Only `serve` and `migrate` create anything: every other command exits 1 and says what is not there, and leaves every
//! directory as it was.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::database::{self, Kind};
use crate::support::{MASTER_SECRET, mintkey, mintkey_at, prepared, run, succeed};

const SHOWN: &str = "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11";

/// The commands that need a database.
const COMMANDS: [&[&str]; 9] = [
    &["backup", "--to", "copy.db"],
    &["keys", "create", "--owner", "alice", "--name", "k"],
    &["keys", "list"],
    &["keys", "show", SHOWN],
    &["keys", "revoke", SHOWN],
    &["keys", "rotate", SHOWN],
    &["keys", "backup-position"],
    &["keys", "export-revocations"],
    &["keys", "apply-revocations", "-"],
];

/// Every file below a directory, with its content.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let content = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
        if path.is_dir() {
            files.extend(self::files(&path));
        }
        files.push((path, content));
    }
    files.sort();
    files
}

/// Runs each command in this directory with these settings. Each must fail with these words and change no file.
fn assert_all_refused(directory: &Path, settings: &[&str], words: &[&str]) {
    let before = files(directory);
    for arguments in COMMANDS {
        let mut command = mintkey();
        command.args(arguments).args(settings).current_dir(directory).env("MINTKEY_MASTER_SECRET", MASTER_SECRET);
        let output = run(&mut command);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        for word in words {
            assert!(error.contains(word), "{arguments:?}: no {word:?} in: {error}");
        }
        assert_eq!(files(directory), before, "{arguments:?}");
    }
}

#[test]
fn token_without_signing_key_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for data in ["missing", "."] {
        let mut token = mintkey();
        token.args(["token", "--subject", "alice", "--data-dir", data]).current_dir(directory.path());
        let output = run(&mut token);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{error}");
        for word in ["signing.key", "--data-dir", "mintkey serve", "--signing-key-file"] {
            assert!(error.contains(word), "no {word:?} in: {error}");
        }
        assert!(files(directory.path()).is_empty());
    }
}

#[test]
fn keys_without_master_secret_create_none() {
    let data = prepared();
    fs::remove_file(data.path().join("master.secret")).unwrap();
    let before = files(data.path());
    for arguments in COMMANDS.iter().filter(|arguments| arguments[0] == "keys") {
        let output = run(mintkey_at(data.path()).args(*arguments));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        for word in ["master.secret", "--data-dir", "mintkey serve", "--master-secret-file"] {
            assert!(error.contains(word), "{arguments:?}: no {word:?} in: {error}");
        }
        assert_eq!(files(data.path()).len(), before.len(), "{arguments:?}");
    }
}

#[test]
fn failed_export_keeps_the_earlier_one() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("revocations.jsonl"), "earlier").unwrap();
    let script = format!(
        "{} keys export-revocations --since 0 --data-dir wrong >new && mv new revocations.jsonl",
        mintkey().get_program().to_str().unwrap()
    );
    let output = run(std::process::Command::new("sh").args(["-c", &script]).current_dir(directory.path()));
    assert!(!output.status.success());
    assert_eq!(fs::read_to_string(directory.path().join("revocations.jsonl")).unwrap(), "earlier");
    assert!(!directory.path().join("wrong").exists());
}

#[test]
fn commands_on_database_without_tables_create_none() {
    if database::kind() == Kind::Sqlite {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("mintkey.db"), "").unwrap();
        return assert_all_refused(
            directory.path(),
            &["--data-dir", "."],
            &["no tables of mintkey", "mintkey migrate"],
        );
    }
    let url = database::empty_url();
    let directory = tempfile::tempdir().unwrap();
    assert_all_refused(directory.path(), &["--database-url", &url], &["no tables of mintkey", "mintkey migrate"]);
}

#[test]
fn list_works_beside_and_without_a_server() {
    let data = prepared();
    succeed(mintkey_at(data.path()).args(["keys", "create", "--owner", "alice", "--name", "first"]));
    let before = files(data.path());
    for arguments in [&["keys", "list"][..], &["keys", "export-revocations"]] {
        succeed(mintkey_at(data.path()).args(arguments));
        assert_eq!(files(data.path()), before, "{arguments:?}");
    }
    let _server = crate::support::Server::start_in(data.path(), &[]);
    assert!(succeed(mintkey_at(data.path()).args(["keys", "list"])).contains("first"));
}

mod sqlite {
    use sea_orm::{ConnectionTrait, Database};

    use super::*;

    async fn execute(file: &Path, sql: &str) {
        let database = Database::connect(format!("sqlite://{}?mode=rwc", file.display())).await.unwrap();
        database.execute_unprepared(sql).await.unwrap();
        database.close().await.unwrap();
    }

    #[test]
    fn commands_on_missing_directory_or_file_create_nothing() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("empty")).unwrap();
        for settings in [["--data-dir", "missing"], ["--data-dir", "empty"]] {
            let words = ["mintkey.db", "--data-dir", "--database-url", "mintkey migrate"];
            assert_all_refused(directory.path(), &settings, &words);
        }
        for url in ["sqlite:typo.db", "sqlite://typo.db?mode=rwc", "sqlite:missing/typo.db"] {
            assert_all_refused(directory.path(), &["--database-url", url], &["typo.db", "--database-url"]);
        }
    }

    #[test]
    fn commands_on_file_that_is_no_database_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("mintkey.db"), "this is no database".repeat(100)).unwrap();
        let words = ["mintkey.db", "file is not a database", "check that this is a database of mintkey", "mode 644"];
        assert_all_refused(directory.path(), &["--data-dir", "."], &words);
    }

    #[tokio::test]
    async fn commands_on_other_programs_database_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        execute(&directory.path().join("mintkey.db"), "CREATE TABLE bookmarks (id INTEGER)").await;
        assert_all_refused(directory.path(), &["--data-dir", "."], &["no tables of mintkey", "mintkey migrate"]);
    }

    #[tokio::test]
    async fn commands_on_newer_or_older_schema_change_nothing() {
        let data = prepared();
        let file = data.path().join("mintkey.db");
        execute(&file, "UPDATE schema_version SET version = 1000, min_binary_version = 1000").await;
        assert_all_refused(data.path(), &["--data-dir", "."], &["newer mintkey", "1000"]);
        execute(&file, "UPDATE schema_version SET version = 0, min_binary_version = 0").await;
        let before = files(data.path());
        for arguments in COMMANDS.iter().filter(|arguments| arguments[0] == "keys") {
            let output = run(mintkey_at(data.path()).args(*arguments));
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(1) && error.contains("run `mintkey migrate`"), "{error}");
            assert_eq!(files(data.path()), before, "{arguments:?}");
        }
    }
}
