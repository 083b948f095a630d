//! HAProxy in front of PostgreSQL servers: connections go to the first that accepts some. It stops when it is dropped.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::postgres::free_port;

pub struct HaProxy {
    process: Child,
    directory: TempDir,
    pub port: u16,
}

impl HaProxy {
    /// It knows nothing of recovery: when the first server is down, it connects to a standby that is not promoted yet.
    pub fn to(ports: &[u16]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut text = format!(
            "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n  timeout check 1s\n\
             listen postgresql\n  bind 127.0.0.1:{port}\n"
        );
        for (number, server) in ports.iter().enumerate() {
            let backup = if number == 0 { "" } else { " backup" };
            text.push_str(&format!(
                "  server s{number} 127.0.0.1:{server} check inter 200ms fall 2 on-marked-down shutdown-sessions{backup}\n"
            ));
        }
        let configuration = directory.path().join("haproxy.cfg");
        std::fs::write(&configuration, text).unwrap();
        let program = Path::new("/usr/sbin/haproxy");
        assert!(program.exists(), "haproxy is missing: run make tools");
        let mut haproxy = Command::new(program);
        haproxy.arg("-db").arg("-f").arg(configuration).stdin(Stdio::null());
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let process = haproxy.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let proxy = Self { process, directory, port };
        proxy.wait_until_ready();
        proxy
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "HAProxy does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
