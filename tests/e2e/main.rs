//! End to end: a real server and the tools that its users would hold against it.

mod contract_clients;
mod docs_page;
mod document_lint;
mod packaging;
mod prometheus;
mod proxies;
mod quickstart;
mod schemathesis;
#[expect(dead_code, reason = "the support is shared with the other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod tools;
mod traces;
