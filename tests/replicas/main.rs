//! Several replicas on one PostgreSQL: consistency between them, and faults of the database and the network.

mod change_feed;
mod concurrency;
mod doctor;
mod faults;
#[path = "../support/proxy.rs"]
mod proxy;
mod schema;
#[path = "../support/site.rs"]
mod site;
#[expect(dead_code, reason = "the support is shared with the other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod tls;
