//! File modes: what holds secrets is accessible to its owner only, whatever the umask and whatever was there before.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::database::{self, Kind};
use crate::support::{Server, mintkey, mintkey_at};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Runs `mintkey serve` after this shell script. `$$` in the script is the id of the server's process.
fn serve_after(script: &str, data: &Path) -> Command {
    let program = mintkey().get_program().to_str().unwrap().to_owned();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{script}; exec {program} serve --listen 127.0.0.1:0")]);
    command.current_dir(data.parent().unwrap()).env("MINTKEY_DATA_DIR", data);
    database::configure(&mut command, data);
    command
}

/// The files of a running server, each of which must be private.
fn assert_private(data: &Path) {
    let expected = match database::kind() {
        Kind::Sqlite => &["master.secret", "mintkey.db", "mintkey.db-shm", "mintkey.db-wal", "signing.key"][..],
        Kind::Postgres => &["master.secret", "signing.key"],
    };
    let mut names: Vec<_> =
        fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, expected);
    for name in names {
        assert_eq!(mode(&data.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn files_are_private_whatever_the_umask() {
    for umask in ["000", "022", "077", "277"] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        let server = Server::spawn(&mut serve_after(&format!("umask {umask}"), &data), &data);
        server.create_key(&server.token("alice"), &[]).await;
        assert_private(&data);
        assert!(!server.log().contains("accessible to other users"), "{}", server.log());
    }
}

#[tokio::test]
async fn planted_drafts_are_removed_and_not_used() {
    for plant in ["touch $draft && chmod 666 $draft", "ln -s $PWD/elsewhere $draft"] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let plant = plant.replace("$draft", "data/$name.draft-$$");
        let script = format!("umask 0; mkdir -m 777 data; for name in master signing; do {plant}; done");
        let server = Server::spawn(&mut serve_after(&script, &data), &data);
        assert_private(&data);
        assert!(!data.join("master.secret").is_symlink());
        assert!(!directory.path().join("elsewhere").exists(), "a link was followed");
        server.create_key(&server.token("alice"), &[]).await;
    }
}

#[tokio::test]
async fn open_mode_is_corrected_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &[]);
    server.create_key(&server.token("alice"), &[]).await;
    assert!(server.terminate().success());
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.collect();
    assert!(names.len() >= 2, "{names:?}");
    for name in &names {
        fs::set_permissions(directory.path().join(name), Permissions::from_mode(0o644)).unwrap();
    }
    let server = Server::start_in(directory.path(), &[]);
    assert_private(directory.path());
    for name in &names {
        server.wait_for_log(&["WARN", "accessible to other users", name, "644", "consider"]);
    }
}

mod sqlite {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::support::doctor::{assert_fails, run_doctor};
    use crate::support::{prepared, run, succeed};

    #[tokio::test]
    async fn doctor_fails_on_file_with_open_mode() {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Server::start_in(directory.path(), &[]);
        assert!(server.terminate().success());
        fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
        for name in ["master.secret", "signing.key", "mintkey.db"] {
            let path = directory.path().join(name);
            fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
            let mut doctor = mintkey_at(directory.path());
            let report = run_doctor(doctor.args(["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100"]));
            assert_fails(&report, "files", &[name, "accessible to other users", "640", "chmod 600"]);
            assert_eq!(mode(&path), 0o640, "doctor changes nothing");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
    }

    #[test]
    fn backup_is_private_whatever_the_umask() {
        let data = prepared();
        succeed(mintkey_at(data.path()).args(["keys", "create", "--owner", "alice", "--name", "k"]));
        for umask in ["000", "077", "277"] {
            let copy = data.path().join(format!("copy-{umask}"));
            let program = mintkey().get_program().to_str().unwrap().to_owned();
            let script = format!("umask {umask}; exec {program} backup --to {}", copy.display());
            succeed(Command::new("sh").args(["-c", &script]).env("MINTKEY_DATA_DIR", data.path()));
            assert_eq!(mode(&copy), 0o600, "{umask}");
        }
    }

    #[test]
    fn planted_link_to_write_ahead_log_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("mintkey.db"), "").unwrap();
        symlink(directory.path().join("elsewhere"), data.join("mintkey.db-wal")).unwrap();
        let output = run(mintkey_at(&data).args(["serve", "--listen", "127.0.0.1:0"]));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains("mintkey.db-wal is a symbolic link"), "{error}");
        assert!(!directory.path().join("elsewhere").exists());
    }
}
