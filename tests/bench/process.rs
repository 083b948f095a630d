//! A server process that has the first core to itself.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::run;

/// The server runs on one core, the load generator on the other. Other programs, such as PostgreSQL, run on both.
const SERVER: &str = "0";
const GENERATOR: &str = "1";

pub fn on_servers_core(program: &Path) -> Command {
    pinned(SERVER, program)
}

pub fn on_generators_core(program: &Path) -> Command {
    pinned(GENERATOR, program)
}

fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", core]).arg(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MINTKEY_")) {
        command.env_remove(name);
    }
    command
}

/// A running server. Drop ends it.
pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    /// Starts a program that logs `listening` and its address to standard error. The log goes to a file, as in
    /// production: the reader of a pipe would take time of one of the cores.
    pub fn start(command: &mut Command) -> Self {
        let log = NamedTempFile::new().unwrap();
        let mut process = Self { child: spawn(command, log.reopen().unwrap()), url: String::new() };
        process.url = process.wait_for(&log, |process, text| {
            let lines = text.lines().filter(|line| line.contains("listening"));
            lines
                .filter_map(address_in)
                .map(|address| format!("http://{address}"))
                .next()
                .or_else(|| process.ended(text))
        });
        process
    }

    /// Starts a program that does not log its address. It is ready when its port accepts a connection.
    pub fn at(command: &mut Command, port: u16) -> Self {
        let log = NamedTempFile::new().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let mut process = Self { child: spawn(command, log.reopen().unwrap()), url: url.clone() };
        process.wait_for(&log, |process, text| {
            let connected = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            connected.then(|| url.clone()).or_else(|| process.ended(text))
        });
        process
    }

    fn wait_for(&mut self, log: &NamedTempFile, is_there: impl Fn(&mut Self, &str) -> Option<String>) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let text = std::fs::read_to_string(log.path()).unwrap();
            if let Some(found) = is_there(self, &text) {
                return found;
            }
            assert!(Instant::now() < deadline, "the server did not start:\n{text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ended(&mut self, log: &str) -> Option<String> {
        let status = self.child.try_wait().unwrap();
        assert!(status.is_none(), "the server ended with {status:?}:\n{log}");
        None
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    /// Sends SIGTERM first, because it also ends the workers of a peer.
    fn drop(&mut self) {
        run(Command::new("kill").arg(self.child.id().to_string()));
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                self.child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn spawn(command: &mut Command, log: File) -> Child {
    let output = log.try_clone().unwrap();
    command.stdin(Stdio::null()).stdout(output).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn address_in(line: &str) -> Option<String> {
    let port: String = line.split("127.0.0.1:").nth(1)?.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("127.0.0.1:{port}"))
}
