//! Pgpool-II in front of PostgreSQL servers, the first of which is the primary. It stops when it is dropped.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::postgres::{free_port, give_away, unprivileged};

pub struct Pgpool {
    process: Child,
    directory: TempDir,
    pub port: u16,
}

impl Pgpool {
    pub fn to(ports: &[u16], load_balance_mode: &str) -> Self {
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
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut pgpool = unprivileged(program);
        pgpool.arg("-n").arg("-f").arg(&configuration).current_dir("/").stdin(Stdio::null());
        let process = pgpool.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let pool = Self { process, directory, port };
        pool.wait_until_ready();
        pool
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "Pgpool-II does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Pgpool {
    /// SIGINT is Pgpool-II's fast shutdown. SIGKILL would leave its children behind.
    fn drop(&mut self) {
        let _ = crate::support::run(std::process::Command::new("kill").args(["-INT", &self.process.id().to_string()]));
        let _ = self.process.wait();
    }
}
