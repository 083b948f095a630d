//! Chaos: the guarantees under repeated faults. `CHAOS_KILLS`, `CHAOS_REVOCATIONS`,
//! `CHAOS_FAILOVERS` and `CHAOS_RESTARTS` set the duration.

mod clock;
#[path = "../support/cluster.rs"]
mod cluster;
mod connections;
mod disk;
mod failover;
mod fairness;
#[path = "../support/haproxy.rs"]
mod haproxy;
mod history;
#[path = "../api/ops/durability/kill.rs"]
mod kill;
mod matrix;
#[path = "../support/pgbouncer.rs"]
mod pgbouncer;
#[path = "../support/pgpool.rs"]
mod pgpool;
#[path = "../support/postgres_proxy.rs"]
mod postgres_proxy;
#[path = "../support/proxy.rs"]
mod proxy;
mod replicas;
mod restarts;
#[expect(dead_code, reason = "the support is shared with the other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod unfinished;

fn setting(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |setting| setting.parse().unwrap())
}
