//! Several replicas on one PostgreSQL: consistency between them, and faults of the database and the network.

#[expect(dead_code, reason = "the support is shared with the other test binaries")]
#[path = "../support/revocation_jobs.rs"]
mod bulk_revocations;
mod change_feed;
#[path = "../support/cluster.rs"]
mod cluster;
mod concurrency;
mod connections;
mod doctor;
mod failover;
mod faults;
mod idle_sessions;
mod master_secrets;
mod notification_queue;
#[path = "../support/pgbouncer.rs"]
mod pgbouncer;
mod poolers;
#[path = "../support/postgres_proxy.rs"]
mod postgres_proxy;
mod privileges;
#[path = "../support/proxy.rs"]
mod proxy;
mod revocation_jobs;
mod schema;
#[expect(dead_code, reason = "the support is shared with the other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod tls;
