//! Doctor: deployments with one fault each, and the report on it.

mod trust;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::doctor::{assert_fails, assert_passes, run_doctor};
use crate::support::{Server, mintkey, succeed};

/// Runs doctor on a data directory. Returns the report and whether all checks passed.
fn doctor(data: &Path, arguments: &[&str]) -> (String, bool) {
    let mut command = mintkey();
    // A limit that the file descriptors of the test environment always allow.
    command.env("MINTKEY_MAX_CONNECTIONS", "100");
    run_doctor(command.args(["doctor", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data).args(arguments))
}

/// The data directory of a server that has run.
struct Deployment {
    _directory: TempDir,
    data: PathBuf,
}

impl Deployment {
    fn path(&self) -> &Path {
        &self.data
    }
}

async fn create_deployment() -> Deployment {
    let directory = tempfile::tempdir().unwrap();
    // Other users need access to the parent directory.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start_in(&data, &[]);
    server.create_key(&server.token("alice"), &[]).await;
    assert!(server.terminate().success());
    Deployment { _directory: directory, data }
}

fn read_files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut read_files: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect();
    read_files.sort();
    read_files
}

#[tokio::test]
async fn doctor_passes_valid_deployment_and_changes_nothing() {
    let data = create_deployment().await;
    let before = read_files(data.path());
    let (report, passed) = doctor(data.path(), &[]);
    assert!(passed && !report.contains("FAIL") && report.lines().count() >= 10, "{report}");
    assert_eq!(
        read_files(data.path()).iter().map(|(name, _)| name).collect::<Vec<_>>(),
        before.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    assert_eq!(read_files(data.path()), before);
}

#[test]
fn doctor_fails_before_the_first_start_and_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a/b");
    let report = doctor(&data, &[]);
    assert_fails(&report, "database", &["mintkey.db does not exist", "`mintkey migrate`", "--data-dir"]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    succeed(mintkey().args(["migrate", "--data-dir"]).arg(&data));
    assert_passes(&doctor(&data, &[]), "database", &["up to date"]);
}

#[tokio::test]
async fn doctor_passes_beside_running_server() {
    let server = Server::start();
    fs::set_permissions(&server.data, Permissions::from_mode(0o700)).unwrap();
    let listen = server.url.trim_start_matches("http://").to_owned();
    let (report, passed) = run_doctor(
        mintkey().args(["doctor", "--max-connections", "100", "--listen", &listen, "--data-dir"]).arg(&server.data),
    );
    assert!(passed && report.contains("a mintkey is running there"), "{report}");
    assert_eq!(server.create(&server.token("alice"), json!({ "name": "x" })).await.status, 201);
}

#[tokio::test]
async fn doctor_fails_on_files_that_others_can_read() {
    let data = create_deployment().await;
    fs::set_permissions(data.path(), Permissions::from_mode(0o755)).unwrap();
    assert_fails(&doctor(data.path(), &[]), "data directory", &["accessible to other users", "755", "chmod 700"]);
    fs::set_permissions(data.path(), Permissions::from_mode(0o700)).unwrap();

    let secret = data.path().join("master.secret");
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    let given = ["--master-secret-file", secret.to_str().unwrap()];
    assert_fails(&doctor(data.path(), &given), "files", &["master.secret", "accessible to all", "chmod o="]);
}

#[tokio::test]
async fn doctor_fails_on_data_directory_that_is_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data");
    fs::write(&file, "").unwrap();
    let (report, passed) = doctor(&file, &[]);
    assert!(!passed && report.contains("FAIL  data directory: ") && report.contains("is not a directory"), "{report}");
}

#[tokio::test]
async fn doctor_fails_on_file_of_other_user() {
    let data = create_deployment().await;
    chown(data.path().join("mintkey.db"), Some(65534), None).expect("the tests run as root");
    assert_fails(&doctor(data.path(), &[]), "files", &["mintkey.db", "another user", "chown"]);
}

#[tokio::test]
async fn doctor_fails_on_full_or_read_only_disk() {
    let data = create_deployment().await;
    for (options, words) in
        [("size=1m", ["less than 4 MiB", "free some"]), ("ro,size=9m", ["read-only", "mount it writable"])]
    {
        let script = format!(
            "mount -t tmpfs -o size=9m none /mnt && cp -a {data}/. /mnt && chmod 700 /mnt && mount -o remount,{options} /mnt && \
             {mintkey} doctor --listen 127.0.0.1:0 --max-connections 100 --data-dir /mnt",
            data = data.path().display(),
            mintkey = mintkey().get_program().to_str().unwrap(),
        );
        // In a mount namespace of its own, invisible to other processes.
        assert_fails(&run_doctor(Command::new("unshare").args(["--mount", "sh", "-c", &script])), "disk", &words);
    }
}

#[tokio::test]
async fn doctor_fails_on_data_directory_without_write_access() {
    let data = create_deployment().await;
    fs::set_permissions(data.path(), Permissions::from_mode(0o500)).unwrap();
    for entry in [data.path().to_owned()]
        .into_iter()
        .chain(fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().path()))
    {
        chown(entry, Some(65534), Some(65534)).expect("the tests run as root");
    }
    // A copy of the program in a directory that this user can read.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("mintkey");
    fs::copy(mintkey().get_program(), &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.args(["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100", "--data-dir"]).arg(data.path());
    assert_fails(&run_doctor(&mut command), "disk", &["cannot be written by this user", "owner"]);
}

#[tokio::test]
async fn doctor_fails_on_schema_of_other_version() {
    let data = create_deployment().await;
    let change = async |sql: &str| {
        let database = sea_orm::Database::connect(format!("sqlite://{}", data.path().join("mintkey.db").display()));
        let database = database.await.unwrap();
        sea_orm::ConnectionTrait::execute_unprepared(&database, sql).await.unwrap();
        database.close().await.unwrap();
    };
    change("UPDATE schema_version SET version = 1000, min_binary_version = 1000").await;
    assert_fails(&doctor(data.path(), &[]), "database", &["newer mintkey", "version 1000", "backup"]);
    change("UPDATE schema_version SET version = (SELECT count(*) FROM seaql_migrations) - 1, min_binary_version = 1")
        .await;
    assert_fails(&doctor(data.path(), &[]), "database", &["1 migrations", "mintkey migrate"]);
}

#[tokio::test]
async fn doctor_fails_on_file_that_is_no_database() {
    let data = create_deployment().await;
    fs::write(data.path().join("mintkey.db"), "this is no database, canary".repeat(100)).unwrap();
    assert_fails(
        &doctor(data.path(), &[]),
        "database",
        &["not a database", "check that this is a database of mintkey"],
    );
    let elsewhere = ["--database-url", "mysql://mint:canary@db/mint"];
    assert_fails(&doctor(data.path(), &elsewhere), "database", &["--database-url"]);
}

#[tokio::test]
async fn doctor_fails_on_missing_short_or_other_master_secret() {
    let data = create_deployment().await;
    let other = "canary".repeat(10);
    assert_fails(&doctor(data.path(), &["--master-secret", &other]), "master secret", &["not the one", "restore"]);
    assert_fails(
        &doctor(data.path(), &["--master-secret", "canary"]),
        "master secret",
        &["32 characters", "openssl rand"],
    );
    assert_fails(
        &doctor(data.path(), &["--master-secret-file", "/nonexistent"]),
        "master secret",
        &["/nonexistent", "exists"],
    );
    fs::remove_file(data.path().join("master.secret")).unwrap();
    assert_fails(&doctor(data.path(), &[]), "master secret", &["master.secret is missing", "restore"]);
    assert!(!data.path().join("master.secret").exists(), "doctor made a secret");
}

#[tokio::test]
async fn doctor_fails_on_invalid_signing_key() {
    let data = create_deployment().await;
    fs::write(data.path().join("signing.key"), "canary").unwrap();
    assert_fails(&doctor(data.path(), &[]), "signing key", &["signing.key", "Ed25519", "openssl genpkey"]);
}

#[tokio::test]
async fn doctor_fails_on_unavailable_address() {
    let data = create_deployment().await;
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    assert_fails(
        &doctor(data.path(), &["--admin-listen", &taken]),
        "listen",
        &["--admin-listen", &taken, "another program", "another port"],
    );
    assert_fails(&doctor(data.path(), &["--admin-listen", "192.0.2.1:80"]), "listen", &["no such address", "0.0.0.0"]);
    let mut twice = mintkey();
    twice.args(["doctor", "--max-connections", "100", "--listen", "127.0.0.1:7", "--admin-listen", "127.0.0.1:7"]);
    assert_fails(
        &run_doctor(twice.arg("--data-dir").arg(data.path())),
        "listen",
        &["--listen", "--admin-listen", "two ports"],
    );
}

#[tokio::test]
async fn doctor_fails_on_too_few_file_descriptors() {
    let data = create_deployment().await;
    assert_fails(
        &doctor(data.path(), &["--max-connections", "1000000"]),
        "file descriptors",
        &["1000128", "LimitNOFILE", "--max-connections"],
    );
}

#[tokio::test]
async fn doctor_fails_on_clock_behind_database() {
    let data = create_deployment().await;
    let file = fs::File::options().append(true).open(data.path().join("mintkey.db")).unwrap();
    let later = std::time::Duration::from_secs(1 << 31);
    file.set_modified(std::time::UNIX_EPOCH + later).unwrap();
    assert_fails(&doctor(data.path(), &[]), "clock", &["last changed later", "NTP"]);
}

#[tokio::test]
async fn doctor_fails_on_unreachable_collector() {
    let data = create_deployment().await;
    for (url, words) in [("http://127.0.0.1:1", ["127.0.0.1:1", "start it"]), ("nonsense", ["not a URL", "http://"])] {
        let mut command = mintkey();
        command.args(["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100", "--data-dir"]).arg(data.path());
        assert_fails(&run_doctor(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", url)), "traces", &words);
    }
}
