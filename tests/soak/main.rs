//! Soak: a steady rate of mixed operations on SQLite and on two replicas on PostgreSQL at once. At the end, the database
//! has exactly the keys, audit events and usage that the clients counted. `SOAK_MINUTES` and `SOAK_RATE` set the load.

#[expect(dead_code, reason = "shared with tests/replicas and tests/chaos")]
#[path = "../support/cluster.rs"]
mod cluster;
mod counted;
mod driver;
mod report;
mod samples;
mod stored;
#[expect(dead_code, reason = "the support is shared with the other test binaries")]
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use cluster::Cluster;
use driver::Driver;
use report::{Report, StoreReport};
use samples::Sampler;
use support::Server;

/// Every client has its own owner and connection.
const CLIENTS: u32 = 16;

const TOKEN_LIFETIME: [&str; 2] = ["--ttl", "7d"];

#[derive(Clone, Copy)]
struct Settings {
    time: Duration,
    /// Operations per second on each store.
    rate: u32,
}

impl Settings {
    fn from_environment() -> Self {
        let number = |variable: &str, default: f64| -> f64 {
            std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
        };
        let time = Duration::from_secs_f64(number("SOAK_MINUTES", 30.0) * 60.0);
        Self { time, rate: number("SOAK_RATE", 300.0) as u32 }
    }
}

/// Replicas with one store, and the clients that put load on them.
struct Deployment {
    name: &'static str,
    database: String,
    servers: Vec<Server>,
    driver: Driver,
}

impl Deployment {
    fn new(name: &'static str, database: String, servers: Vec<Server>) -> Self {
        let verify = ["--scopes", "api-keys:verify"];
        let gateway = servers[0].token_with("gateway", &[TOKEN_LIFETIME, verify].concat());
        let owner = |n| servers[0].token_with(&format!("owner-{n}"), &TOKEN_LIFETIME);
        let owners = (0..CLIENTS).map(owner).collect();
        let driver = Driver { urls: servers.iter().map(|server| server.url.clone()).collect(), gateway, owners };
        Self { name, database, servers, driver }
    }

    async fn soak(&mut self, settings: Settings) -> StoreReport {
        let sampler = Sampler::start(&self.database, self.servers.iter().map(Server::pid).collect(), settings.time);
        let started = Instant::now();
        let counted = self.driver.run(settings).await;
        let elapsed = started.elapsed();
        let samples = sampler.stop().await;
        let errors = self.servers.iter().map(|server| server.log().matches("ERROR").count()).sum();
        // Usage that is not written yet is written at the shutdown.
        for server in &mut self.servers {
            assert!(server.terminate().success(), "{}", server.log());
        }
        let differences = stored::differences(&self.database, &counted).await;
        StoreReport { name: self.name, elapsed, counted, samples, errors, differences }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_leaves_what_was_counted_and_grows_nothing() {
    let settings = Settings::from_environment();
    let data = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", data.path().join("mintkey.db").display());
    let mut sqlite = Deployment::new("SQLite", database, vec![Server::start_in(data.path(), &[])]);
    let cluster = Cluster::with_own_postgres();
    let replicas = vec![cluster.replica(&[]), cluster.replica(&[])];
    let mut postgres = Deployment::new("PostgreSQL", cluster.postgres.url(&cluster.database), replicas);

    let machine = report::machine();
    let (sqlite, postgres) = tokio::join!(sqlite.soak(settings), postgres.soak(settings));
    let report = Report { settings, machine, stores: [sqlite, postgres] };
    println!("\n{report}");
    report.assert_holds();
}
