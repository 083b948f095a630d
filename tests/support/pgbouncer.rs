//! PgBouncer in front of a PostgreSQL server. It stops when it is dropped.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::postgres::{Postgres, free_port, give_away, unprivileged};

pub struct PgBouncer {
    process: Child,
    directory: TempDir,
    pub port: u16,
}

impl PgBouncer {
    /// Starts it with this `pool_mode`. It ignores the settings of mintkey's connections, which it would refuse.
    pub fn to(postgres: &Postgres, pool_mode: &str) -> Self {
        let ignored = "ignore_startup_parameters = options,extra_float_digits";
        Self::with_settings(postgres, &[&format!("pool_mode = {pool_mode}"), ignored])
    }

    /// Starts it with these settings beside those that it needs.
    pub fn with_settings(postgres: &Postgres, settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (users, port) = (directory.path().join("users.txt"), free_port());
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let configuration = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\ndefault_pool_size = 50\n{}\n",
            postgres.port,
            users.display(),
            settings.join("\n")
        );
        std::fs::write(&configuration, text).unwrap();
        [directory.path(), &users, &configuration].into_iter().for_each(give_away);
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut pgbouncer = unprivileged(&program());
        pgbouncer
            .arg(&configuration)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let bouncer = Self { process: pgbouncer.spawn().unwrap(), directory, port };
        bouncer.wait_until_ready();
        bouncer
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PgBouncer does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian installs it outside of the PATH of users.
fn program() -> PathBuf {
    let program = Path::new("/usr/sbin/pgbouncer");
    assert!(program.exists(), "pgbouncer is missing: run make tools");
    program.to_owned()
}
