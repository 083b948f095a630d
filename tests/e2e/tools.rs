//! Tools: the programs that `tools.sh` installs, each bounded in time.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};

/// How long a tool may take.
pub const DEFAULT_TIMEOUT: &str = "2m";

/// The project's top.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A place for what a failed test leaves to look at.
pub fn artifacts() -> PathBuf {
    let directory = project().join("target/e2e");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

pub fn npm(name: &str) -> Command {
    bounded(DEFAULT_TIMEOUT, &project().join("tests/e2e/node_modules/.bin").join(name))
}

pub fn python(name: &str) -> Command {
    python_for(DEFAULT_TIMEOUT, name)
}

/// One that may take this long.
pub fn python_for(time: &str, name: &str) -> Command {
    bounded(time, &project().join("target/tools/venv/bin").join(name))
}

/// A script of this directory, in Node.
pub fn script(name: &str) -> Command {
    let mut command = system("node");
    command.arg(project().join("tests/e2e").join(name));
    command
}

pub fn system(name: &str) -> Command {
    bounded(DEFAULT_TIMEOUT, &installed(name))
}

/// A program that the tests' own sources were built to.
pub fn built(path: &str) -> Command {
    bounded(DEFAULT_TIMEOUT, &project().join("target").join(path))
}

/// Where the machine has this program. Debian puts servers where a user's path does not lead.
pub fn installed(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let program = directories.map(|directory| directory.join(name)).find(|program| program.exists());
    program.unwrap_or_else(|| panic!("{name} is missing: run make tools"))
}

/// Ends the tool and what it started when it takes too long.
fn bounded(time: &str, program: &Path) -> Command {
    assert!(program.exists(), "{} is missing: run make tools", program.display());
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", time]).arg(program);
    // The tools talk to this machine only.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// What a tool that succeeded wrote to standard output.
pub fn succeed(command: &mut Command) -> String {
    let output = crate::support::run(command);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, both(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn both(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).join("\n")
}

/// A port that nobody listens on, outside of the range from which the system takes those that nobody chose.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() * 61 % 10_000).unwrap();
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A tool that runs beside a test and ends with it.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It runs under `timeout`, which hands this on to it.
        crate::support::run(Command::new("kill").arg(self.0.id().to_string()));
        let _ = self.0.wait();
    }
}
