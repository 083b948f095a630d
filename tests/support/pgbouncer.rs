//! PgBouncer in front of a PostgreSQL server.

use std::path::{Path, PathBuf};

use crate::postgres_proxy::PostgresProxy;
use crate::support::postgres::{Postgres, free_port, give_away, unprivileged};

/// Starts it with this `pool_mode`. It ignores the settings of mintkey's connections, which it would refuse.
pub fn start_pgbouncer(postgres: &Postgres, pool_mode: &str) -> PostgresProxy {
    let ignored = "ignore_startup_parameters = options,extra_float_digits";
    start_pgbouncer_with(postgres, &[&format!("pool_mode = {pool_mode}"), ignored])
}

/// Starts it with these settings beside those that it needs.
pub fn start_pgbouncer_with(postgres: &Postgres, settings: &[&str]) -> PostgresProxy {
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
    let mut pgbouncer = unprivileged(&program());
    pgbouncer.arg(&configuration).current_dir("/");
    PostgresProxy::start(pgbouncer, "KILL", directory, port)
}

/// Debian installs it outside of the PATH of users.
fn program() -> PathBuf {
    let program = Path::new("/usr/sbin/pgbouncer");
    assert!(program.exists(), "pgbouncer is missing: run make tools");
    program.to_owned()
}
