//! Memory and descriptors of the servers, and the size of the database, while the load runs.

use std::fs;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// So many samples are taken, but none sooner than a second after the one before.
const SAMPLES: u32 = 300;

#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Resident memory of each server, in bytes.
    pub memory: Vec<u64>,
    /// Open file descriptors of each server.
    pub descriptors: Vec<u64>,
    /// In bytes.
    pub database: u64,
    pub write_ahead_log: u64,
}

pub struct Sampler {
    stop: oneshot::Sender<()>,
    samples: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    pub fn start(database: &str, processes: Vec<u32>, time: Duration) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let interval = (time / SAMPLES).max(Duration::from_secs(1));
        let database = database.to_owned();
        let samples = tokio::spawn(async move {
            let database = Sizes::of(&database).await;
            let mut samples = Vec::new();
            let mut next = Instant::now();
            loop {
                next += interval;
                tokio::select! {
                    _ = &mut stopped => break,
                    () = tokio::time::sleep_until(next.into()) => samples.push(database.sample(&processes).await),
                }
            }
            samples
        });
        Self { stop, samples }
    }

    pub async fn stop(self) -> Vec<Sample> {
        self.stop.send(()).unwrap();
        self.samples.await.unwrap()
    }
}

enum Sizes {
    Sqlite { path: String },
    Postgres(DatabaseConnection),
}

impl Sizes {
    async fn of(url: &str) -> Self {
        match url.strip_prefix("sqlite://") {
            Some(path) => Self::Sqlite { path: path.to_owned() },
            None => Self::Postgres(Database::connect(url).await.unwrap()),
        }
    }

    async fn sample(&self, processes: &[u32]) -> Sample {
        let (database, write_ahead_log) = match self {
            Self::Sqlite { path } => (file_size(path), file_size(&format!("{path}-wal"))),
            Self::Postgres(connection) => {
                let size = "pg_database_size(current_database())";
                (query(connection, size).await, query(connection, "(SELECT sum(size) FROM pg_ls_waldir())").await)
            }
        };
        Sample {
            memory: processes.iter().copied().map(resident_memory).collect(),
            descriptors: processes.iter().copied().map(descriptors).collect(),
            database,
            write_ahead_log,
        }
    }
}

fn file_size(path: &str) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

async fn query(connection: &DatabaseConnection, size: &str) -> u64 {
    let statement = Statement::from_string(DbBackend::Postgres, format!("SELECT CAST({size} AS bigint) AS n"));
    let row = connection.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get::<i64>("", "n").unwrap() as u64
}

fn resident_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn descriptors(process: u32) -> u64 {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as u64
}
