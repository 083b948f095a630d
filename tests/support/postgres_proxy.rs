//! A proxy or a pooler in front of PostgreSQL. It stops when it is dropped.

use std::fs::File;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::run;

pub struct PostgresProxy {
    process: Child,
    /// The signal that stops it.
    stop: &'static str,
    /// Has its configuration and its log.
    directory: TempDir,
    pub port: u16,
}

impl PostgresProxy {
    /// Runs the command, and waits until it listens on the port.
    pub fn start(mut command: Command, stop: &'static str, directory: TempDir, port: u16) -> Self {
        let log = File::create(directory.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let proxy = Self { process: command.spawn().unwrap(), stop, directory, port };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(proxy.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{command:?} does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        let _ = run(Command::new("kill").args(["-s", self.stop, &self.process.id().to_string()]));
        let _ = self.process.wait();
    }
}
