//! A PostgreSQL server for tests, from Debian's package or of another version, with a new database per caller. It stops
//! with the tests.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::run;

pub struct Postgres {
    server: Mutex<Child>,
    /// Stops the server and deletes its files when its standard input closes, however the tests end.
    _keeper: Child,
    /// Where its programs are.
    programs: PathBuf,
    directory: PathBuf,
    settings: Vec<String>,
    pub port: u16,
    databases: AtomicU64,
}

/// Where Debian's package puts the programs of PostgreSQL. They are not in PATH.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let programs = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("postgres").exists());
    programs.unwrap_or_else(|| panic!("PostgreSQL is missing: run make tools"))
}

pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

pub fn give_away(path: &Path) {
    if is_root() {
        assert!(run(Command::new("chown").arg("nobody:nogroup").arg(path)).status.success());
    }
}

/// Runs a program as `nobody` if the tests run as root, because PostgreSQL refuses to run as root.
pub fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    command
}

impl Postgres {
    /// Starts with these additional settings.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_with_files(&[], settings)
    }

    /// Starts a copy of the installation in this directory: the server runs as `nobody`, who may not read the original.
    pub fn start_version(installation: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap().keep();
        assert!(run(Command::new("cp").arg("-r").arg(installation).arg(directory.join("version"))).status.success());
        let programs = directory.join("version/bin");
        Self::start_new(programs, directory, &[], &[])
    }

    /// The same as [`Postgres::start`], with these files copied into the data directory.
    pub fn start_with_files(files: &[&Path], settings: &[&str]) -> Self {
        Self::start_new(programs(), tempfile::tempdir().unwrap().keep(), files, settings)
    }

    fn start_new(programs: PathBuf, directory: PathBuf, files: &[&Path], settings: &[&str]) -> Self {
        give_away(&directory);
        let mut initdb = unprivileged(&programs.join("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata"]);
        let made = run(initdb.current_dir("/").arg(directory.join("data")));
        assert!(made.status.success(), "{made:?}");
        for file in files {
            let copy = directory.join("data").join(file.file_name().unwrap());
            std::fs::copy(file, &copy).unwrap();
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
            give_away(&copy);
        }
        Self::start_in(programs, directory, settings)
    }

    /// Starts a standby that follows this server.
    pub fn start_standby(&self) -> Self {
        let directory = tempfile::tempdir().unwrap().keep();
        give_away(&directory);
        let mut copy = unprivileged(&program("pg_basebackup"));
        copy.args([
            "--checkpoint=fast",
            "--no-sync",
            "--write-recovery-conf",
            "--username=postgres",
            "--host=127.0.0.1",
        ]);
        copy.arg(format!("--port={}", self.port)).arg("--pgdata").arg(directory.join("data"));
        let made = run(copy.current_dir("/"));
        assert!(made.status.success(), "{made:?}");
        Self::start_in(self.programs.clone(), directory, &[])
    }

    fn start_in(programs: PathBuf, directory: PathBuf, settings: &[&str]) -> Self {
        let port = free_port();
        let sockets = format!("unix_socket_directories={}", directory.display());
        let ours = [&format!("port={port}"), &sockets, "listen_addresses=127.0.0.1", "max_connections=400"];
        let settings: Vec<_> = ours.iter().chain(settings).map(ToString::to_string).collect();
        let server = Mutex::new(serve(&programs, &directory, &settings));
        let keeper = keep(&directory);
        let databases = AtomicU64::new(0);
        let postgres = Self { server, _keeper: keeper, programs, directory, settings, port, databases };
        postgres.wait_until_ready();
        postgres
    }

    /// Stops the server as a power failure would: transactions are not completed, clients are not informed.
    pub fn stop_immediately(&self) {
        self.stop("QUIT");
    }

    /// Stops the server as an administrator does (`pg_ctl stop -m fast`): transactions end, clients are informed.
    pub fn stop_fast(&self) {
        self.stop("INT");
    }

    fn stop(&self, signal_name: &str) {
        let mut server = self.server.lock().unwrap();
        signal(signal_name, server.id());
        server.wait().unwrap();
    }

    pub fn start_again(&self) {
        *self.server.lock().unwrap() = serve(&self.programs, &self.directory, &self.settings);
        self.wait_until_ready();
    }

    /// Suspends every process of the server, or resumes them. Connections stay open and get no response.
    pub fn freeze(&self, frozen: bool) {
        let server = self.server.lock().unwrap().id();
        let children = run(Command::new("ps").args(["-o", "pid=", "--ppid", &server.to_string()])).stdout;
        let children = String::from_utf8(children).unwrap();
        for process in [server].into_iter().chain(children.split_whitespace().map(|pid| pid.parse().unwrap())) {
            // A child may have ended in the meantime.
            let _ = run(Command::new("kill").args([if frozen { "-STOP" } else { "-CONT" }, &process.to_string()]));
        }
    }

    /// Waits until `pg_isready` says that the server accepts connections.
    pub fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut is_ready = Command::new(program("pg_isready"));
        is_ready.args(["--quiet", "--host=127.0.0.1", "--port", &self.port.to_string()]);
        while !run(&mut is_ready).status.success() {
            let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn psql(&self, database: &str, sql: &str) -> Command {
        let mut psql = Command::new(program("psql"));
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--command", sql, &self.url(database)]);
        psql
    }

    /// Runs a statement, which must succeed, and returns its output.
    pub fn query(&self, database: &str, sql: &str) -> String {
        let output = run(&mut self.psql(database, sql));
        assert!(output.status.success(), "{sql}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates a database from this template.
    pub fn database(&self, template: &str) -> String {
        let name = format!("mintkey_{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.query("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}"));
        name
    }
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn serve(programs: &Path, directory: &Path, settings: &[String]) -> Child {
    let mut postgres = unprivileged(&programs.join("postgres"));
    postgres.arg("-D").arg(directory.join("data")).current_dir("/");
    for setting in settings {
        postgres.args(["-c", setting]);
    }
    let log = std::fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    postgres.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn keep(directory: &Path) -> Child {
    let script = "read -r _; server=$(head -n 1 \"$1/data/postmaster.pid\") && { kill -QUIT $server; \
                  kill -CONT $server; while kill -0 $server; do sleep 0.1; done; }; rm -rf \"$1\"";
    let mut keeper = Command::new("sh");
    keeper.args(["-c", script, "sh"]).arg(directory).current_dir("/");
    keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn signal(name: &str, process: u32) {
    assert!(run(Command::new("kill").args([&format!("-{name}"), &process.to_string()])).status.success());
}
