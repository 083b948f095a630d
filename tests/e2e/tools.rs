//! The programs that `tools.sh` installs, each with a timeout.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::support::succeed;

/// Ends a tool that hangs, and none that a busy machine slows down.
pub const DEFAULT_TIMEOUT: &str = "15m";

/// The root of the repository.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory for artifacts of failed tests.
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

/// The same with another timeout.
pub fn python_for(time: &str, name: &str) -> Command {
    bounded(time, &project().join("target/tools/venv/bin").join(name))
}

/// A script of this directory, run with Node.
pub fn script(name: &str) -> Command {
    let mut command = system("node");
    command.arg(project().join("tests/e2e").join(name));
    command
}

pub fn system(name: &str) -> Command {
    bounded(DEFAULT_TIMEOUT, &installed(name))
}

/// A program built from sources of the tests.
pub fn built(path: &str) -> Command {
    bounded(DEFAULT_TIMEOUT, &project().join("target").join(path))
}

/// Finds a program. Debian installs servers outside of the PATH of users.
pub fn installed(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let program = directories.map(|directory| directory.join(name)).find(|program| program.exists());
    program.unwrap_or_else(|| panic!("{name} is missing: run make tools"))
}

/// Ends the tool and its children after the timeout.
fn bounded(time: &str, program: &Path) -> Command {
    assert!(program.exists(), "{} is missing: run make tools", program.display());
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", time]).arg(program);
    // The tools connect only to this machine.
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// A free port outside of the range of ephemeral ports.
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

/// A tool that runs during a test. Drop ends it.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // `timeout` forwards the signal to the tool.
        crate::support::run(Command::new("kill").arg(self.0.id().to_string()));
        let _ = self.0.wait();
    }
}

/// Creates a certificate for this name and 127.0.0.1 that signs itself. Returns its file, NAME.pem, and that of its key,
/// NAME.key.
pub fn make_certificate(directory: &Path, name: &str) -> [String; 2] {
    let [cert, key] = ["pem", "key"].map(|kind| directory.join(format!("{name}.{kind}")).display().to_string());
    let mut openssl = system("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name},IP:127.0.0.1")]);
    succeed(openssl.args(["-keyout", &key, "-out", &cert]));
    [cert, key]
}
