//! `mintkey backup`, which copies SQLite alone.

use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;
use std::time::Duration;

use sea_orm::Database;

use super::*;
use crate::support::eventually;

fn backup_command(data: &Path, to: &Path) -> Command {
    let mut command = mintkey_at(data);
    command.args(["backup", "--to"]).arg(to);
    command
}

fn backup_error(data: &Path, to: &Path) -> String {
    let output = run(&mut backup_command(data, to));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{error}");
    error
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

async fn create_key(data: &Path) {
    succeed(mintkey_at(data).args(["keys", "create", "--owner", "alice", "--name", "k"]));
}

#[tokio::test]
async fn backup_file_is_private_and_never_overwrites() {
    let (data, elsewhere) = (prepared(), tempfile::tempdir().unwrap());
    create_key(data.path()).await;
    let copy = elsewhere.path().join("copy");
    succeed(&mut backup_command(data.path(), &copy));
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&copy).unwrap();
    assert!(backup_error(data.path(), &copy).contains("--to"));
    assert_eq!(fs::read(&copy).unwrap(), before);
    let link = elsewhere.path().join("link");
    symlink(elsewhere.path().join("nowhere"), &link).unwrap();
    assert!(backup_error(data.path(), &link).contains("--to"));
    assert_eq!(names(elsewhere.path()), ["copy", "link"]);
    assert_eq!(names(data.path()), ["master.secret", "mintkey.db"]);
}

#[tokio::test]
async fn backup_without_keys_or_with_full_disk_leaves_no_file() {
    let (data, elsewhere) = (prepared(), tempfile::tempdir().unwrap());
    let copy = elsewhere.path().join("copy");
    assert!(backup_error(data.path(), &copy).contains("no keys"));
    create_key(data.path()).await;
    // A limit on the size of files, as a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec {} backup --to {}",
        mintkey_at(data.path()).get_program().to_str().unwrap(),
        copy.display()
    );
    let output = run(Command::new("sh").args(["-c", &script]).env("MINTKEY_DATA_DIR", data.path()));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("the copy to"), "{error}");
    assert!(names(elsewhere.path()).is_empty(), "{:?}", names(elsewhere.path()));
}

/// Adds to the database what takes a while to copy.
async fn enlarge(data: &Path) {
    let database = Database::connect(&database::url(data)).await.unwrap();
    database.execute_unprepared("CREATE TABLE large (content BLOB)").await.unwrap();
    for _ in 0..40 {
        database.execute_unprepared("INSERT INTO large VALUES (randomblob(4000000))").await.unwrap();
    }
    database.close().await.unwrap();
}

#[tokio::test]
async fn backup_ended_by_a_signal_leaves_no_file_of_its_name() {
    let (data, elsewhere) = (prepared(), tempfile::tempdir().unwrap());
    create_key(data.path()).await;
    enlarge(data.path()).await;
    let copy = elsewhere.path().join("copy");
    for (signal, left) in [("TERM", 0), ("INT", 0), ("KILL", 2)] {
        let mut backup = backup_command(data.path(), &copy).stderr(Stdio::piped()).spawn().unwrap();
        let begun = async || {
            let draft = elsewhere.path().join(format!("copy.draft-{}", backup.id()));
            (fs::metadata(draft).ok()?.len() > 0).then_some(())
        };
        eventually(Duration::from_secs(60), "a draft with content", begun).await;
        succeed(Command::new("kill").args(["-s", signal, &backup.id().to_string()]));
        assert!(!backup.wait().unwrap().success(), "{signal}: it was done before the signal");
        let error = io::read_to_string(backup.stderr.take().unwrap()).unwrap();
        assert_eq!(error.contains("interrupted by a signal; nothing was written"), signal != "KILL", "{error}");
        let names = names(elsewhere.path());
        assert!(names.len() == left && !names.contains(&"copy".to_owned()), "{signal}: {names:?}");
    }
    succeed(&mut backup_command(data.path(), &copy));
    let restored = Database::connect(format!("sqlite://{}", copy.display())).await.unwrap();
    restored.execute_unprepared("SELECT * FROM large").await.unwrap();
}

#[tokio::test]
async fn backup_to_an_unusable_place_says_what_to_give() {
    let (data, elsewhere) = (prepared(), tempfile::tempdir().unwrap());
    create_key(data.path()).await;
    let before = names(data.path());
    for (to, words) in [
        (elsewhere.path().join("missing/copy"), "give a file in a directory that exists"),
        (data.path().join("mintkey.db"), "give a file that does not exist"),
        (data.path().join("mintkey.db-wal"), "SQLite uses this name beside its database"),
        (data.path().join("mintkey.db-shm"), "SQLite uses this name beside its database"),
        (data.path().join("mintkey.db-journal"), "SQLite uses this name beside its database"),
        (elsewhere.path().to_owned(), "give a file that does not exist"),
    ] {
        let error = backup_error(data.path(), &to);
        assert!(error.contains(words) && error.contains(&*to.to_string_lossy()), "{error}");
        assert_eq!(names(data.path()), before);
    }
    assert!(names(elsewhere.path()).is_empty());
}

#[tokio::test]
async fn backup_to_a_name_like_a_uri_is_complete_and_private() {
    let (data, elsewhere) = (prepared(), tempfile::tempdir().unwrap());
    create_key(data.path()).await;
    for name in ["file:a.db", "file:a%2edb", "file:a.db?mode=memory"] {
        let target = elsewhere.path().join(name);
        succeed(backup_command(data.path(), Path::new(name)).current_dir(elsewhere.path()));
        let metadata = fs::metadata(&target).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        assert!(metadata.len() > 0 && fs::read(&target).unwrap().starts_with(b"SQLite format 3\0"), "{name}");
        fs::remove_file(target).unwrap();
        assert!(names(elsewhere.path()).is_empty(), "{name}");
    }
}

#[tokio::test]
async fn backup_with_pending_migrations_copies_without_migrating() {
    let (data, elsewhere) = (prepared(), tempfile::tempdir().unwrap());
    create_key(data.path()).await;
    let url = database::url(data.path());
    let database = Database::connect(&url).await.unwrap();
    database.execute_unprepared("UPDATE schema_version SET version = version - 1").await.unwrap();
    database.close().await.unwrap();
    let before = fs::read(data.path().join("mintkey.db")).unwrap();
    succeed(&mut backup_command(data.path(), &elsewhere.path().join("copy")));
    assert_eq!(fs::read(data.path().join("mintkey.db")).unwrap(), before);
    assert_eq!(names(elsewhere.path()), ["copy"]);
}
