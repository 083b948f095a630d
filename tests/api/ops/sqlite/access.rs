//! Access: a database file that this user or this file system does not let be used. Every command says so, with the file,
//! its owner and mode, and what to do.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::doctor::run_doctor;
use crate::support::{Server, mintkey, mintkey_at, prepared, run, succeed};

const SERVICE_USER: u32 = 1;

/// The program and a prepared data directory of the user `daemon`.
struct Deployment {
    directory: TempDir,
    _data: TempDir,
}

impl Deployment {
    fn new() -> Self {
        let (directory, data) = (tempfile::tempdir().unwrap(), prepared());
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(mintkey().get_program(), directory.path().join("mintkey")).unwrap();
        succeed(mintkey_at(data.path()).args(["keys", "create", "--owner", "alice", "--name", "k"]));
        let deployment = Self { directory, _data: data };
        fs::create_dir(deployment.data()).unwrap();
        fs::set_permissions(deployment.data(), Permissions::from_mode(0o700)).unwrap();
        for name in ["master.secret", "mintkey.db"] {
            fs::copy(deployment._data.path().join(name), deployment.data().join(name)).unwrap();
            fs::set_permissions(deployment.data().join(name), Permissions::from_mode(0o600)).unwrap();
        }
        for path in [deployment.data(), deployment.data().join("master.secret"), deployment.database()] {
            chown(path, Some(SERVICE_USER), Some(SERVICE_USER)).expect("the tests run as root");
        }
        deployment
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn database(&self) -> PathBuf {
        self.data().join("mintkey.db")
    }

    /// A command of mintkey as `daemon`.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=1", "--regid=1", "--clear-groups"]).arg(self.directory.path().join("mintkey"));
        command.args(arguments).env("MINTKEY_DATA_DIR", self.data()).current_dir(self.directory.path());
        command
    }

    /// Runs a command, which must fail with these words.
    fn assert_fails(&self, arguments: &[&str], words: &[&str]) {
        let output = run(&mut self.command(arguments));
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        for word in words {
            assert!(error.contains(word), "{arguments:?}: no {word:?} in: {error}");
        }
    }
}

const SERVE: &[&str] = &["serve", "--listen", "127.0.0.1:0"];
const READING: [&[&str]; 4] = [
    &["backup", "--to", "/tmp/mintkey-unused-copy"],
    &["keys", "list"],
    &["keys", "backup-position"],
    &["keys", "export-revocations"],
];
const WRITING: [&[&str]; 3] =
    [&["migrate"], &["keys", "create", "--owner", "a", "--name", "n"], &["keys", "apply-revocations", "-"]];

/// A restore as root leaves such a file.
#[test]
fn file_of_another_user_is_named_with_its_owner_and_mode() {
    let deployment = Deployment::new();
    chown(deployment.database(), Some(0), Some(0)).unwrap();
    let words = ["data/mintkey.db", "file: owner root, mode 600", "user daemon", "run: chown daemon", "mintkey doctor"];
    for arguments in READING.iter().chain(&WRITING).chain([&SERVE]) {
        deployment.assert_fails(arguments, &words);
    }
    let mut doctor = deployment.command(&["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]);
    let (report, passed) = run_doctor(&mut doctor);
    assert!(
        !passed && report.contains("FAIL  files: ") && report.contains("(root) than its directory (daemon)"),
        "{report}"
    );
    assert!(report.contains("chown --reference"), "{report}");

    succeed(Command::new("sh").args(["-c", "chown --reference=data data/*"]).current_dir(deployment.directory.path()));
    succeed(&mut deployment.command(&["keys", "list"]));
    Server::spawn(&mut deployment.command(SERVE), &deployment.data());
}

#[test]
fn file_that_cannot_be_written_is_refused_by_what_writes() {
    let deployment = Deployment::new();
    fs::set_permissions(deployment.database(), Permissions::from_mode(0o400)).unwrap();
    let words = ["data/mintkey.db", "readonly database", "owner daemon, mode 400", "chmod 600", "mintkey doctor"];
    for arguments in WRITING.iter().chain([&SERVE]) {
        deployment.assert_fails(arguments, &words);
    }
    succeed(&mut deployment.command(&["keys", "list"]));
    // As the error says: SQLite may have made its log with the same mode.
    succeed(Command::new("sh").args(["-c", "chmod 600 data/mintkey.db*"]).current_dir(deployment.directory.path()));
    Server::spawn(&mut deployment.command(SERVE), &deployment.data());
}

#[test]
fn directory_that_cannot_be_written_is_refused_by_what_writes() {
    let deployment = Deployment::new();
    fs::set_permissions(deployment.data(), Permissions::from_mode(0o500)).unwrap();
    let words = ["data/mintkey.db", "mode 500", "SQLite keeps its log beside the file", "chown daemon"];
    for arguments in WRITING {
        deployment.assert_fails(arguments, &words);
    }
    succeed(&mut deployment.command(&["keys", "list"]));
}

#[test]
fn read_only_file_system_is_refused_by_what_writes() {
    let data = prepared();
    for arguments in ["migrate", "keys create --owner a --name n"] {
        let script = format!(
            "mount -t tmpfs -o size=9m none /mnt && cp -a {data}/. /mnt && chmod 700 /mnt && chmod 600 /mnt/* && mount -o remount,ro /mnt && \
             exec {mintkey} {arguments} --data-dir /mnt",
            data = data.path().display(),
            mintkey = mintkey().get_program().to_str().unwrap(),
        );
        // In a mount namespace of its own, invisible to other processes.
        let output = run(Command::new("unshare").args(["--mount", "sh", "-c", &script]));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{error}");
        for word in ["/mnt/mintkey.db", "the file system is read-only", "mount it writable"] {
            assert!(error.contains(word), "{arguments}: no {word:?} in: {error}");
        }
    }
}

#[test]
fn start_during_a_lock_names_the_file_that_is_locked() {
    let data = prepared();
    let other = Server::start_in(data.path(), &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _lock = runtime.block_on(other.lock());
    let output = run(mintkey_at(data.path()).args(SERVE));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{error}");
    for word in
        ["another process holds the write lock of", &*data.path().join("mintkey.db").display().to_string(), "fuser"]
    {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}
