//! Replicas: the same binary several times on one PostgreSQL, what they owe each other, and faults between them and it.

mod doctor;
mod faults;
mod hearing;
#[path = "../support/proxy.rs"]
mod proxy;
mod schema;
#[path = "../support/site.rs"]
mod site;
#[expect(dead_code, reason = "the support is shared with the other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod together;
