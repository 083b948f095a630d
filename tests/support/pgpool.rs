//! Pgpool-II in front of PostgreSQL servers, the first of which is the primary.

use std::path::Path;

use crate::postgres_proxy::PostgresProxy;
use crate::support::postgres::{free_port, give_away, unprivileged};

pub fn start_pgpool(ports: &[u16], load_balance_mode: &str) -> PostgresProxy {
    let directory = tempfile::tempdir().unwrap();
    let (path, port) = (directory.path().display(), free_port());
    let mut text = format!(
        "backend_clustering_mode = 'streaming_replication'\nlisten_addresses = '127.0.0.1'\nport = {port}\n\
         unix_socket_directories = '{path}'\nsocket_dir = '{path}'\npcp_socket_dir = '{path}'\npcp_listen_addresses = ''\n\
         pcp_port = {}\npid_file_name = '{path}/pid'\nlogdir = '{path}'\nwork_dir = '{path}'\n\
         load_balance_mode = {load_balance_mode}\nnum_init_children = 64\nsr_check_user = 'postgres'\n\
         sr_check_database = 'postgres'\nsr_check_period = 1\n",
        free_port()
    );
    for (number, server) in ports.iter().enumerate() {
        text.push_str(&format!("backend_hostname{number} = '127.0.0.1'\nbackend_port{number} = {server}\n"));
        text.push_str(&format!("backend_weight{number} = 1\n"));
    }
    let configuration = directory.path().join("pgpool.conf");
    std::fs::write(&configuration, text).unwrap();
    [directory.path(), &configuration].into_iter().for_each(give_away);
    let program = Path::new("/usr/sbin/pgpool");
    assert!(program.exists(), "pgpool is missing: run make chaos, or tests/e2e/tools.sh chaos");
    let mut pgpool = unprivileged(program);
    pgpool.arg("-n").arg("-f").arg(&configuration).current_dir("/");
    // Its fast shutdown. SIGKILL would leave its children behind.
    PostgresProxy::start(pgpool, "INT", directory, port)
}
