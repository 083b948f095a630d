//! HAProxy in front of PostgreSQL servers: connections go to the first that accepts some.

use std::path::Path;
use std::process::Command;

use crate::postgres_proxy::PostgresProxy;
use crate::support::postgres::free_port;

/// It knows nothing of recovery: when the first server is down, it connects to a standby that is not promoted yet.
pub fn start_haproxy(ports: &[u16]) -> PostgresProxy {
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
    haproxy.arg("-db").arg("-f").arg(configuration);
    PostgresProxy::start(haproxy, "KILL", directory, port)
}
