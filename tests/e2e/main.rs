//! End to end: a real server with real tools of its users.

mod client_address;
mod contract_clients;
mod cors_page;
mod dockerfile;
mod docs_page;
mod document_lint;
mod forged_tokens;
mod forgery;
mod image;
mod introspection;
mod issuers;
mod manifests;
mod packaging;
mod path_prefix;
mod prometheus;
mod provider;
mod providers;
mod proxies;
mod schemathesis;
mod sdk;
mod secret_scanning;
mod slow_clients;
#[expect(dead_code, reason = "the support is shared with the other test binaries")]
#[path = "../support/mod.rs"]
mod support;
mod tools;
mod traces;
mod verify_programs;
mod walkthrough;
mod welcome;
