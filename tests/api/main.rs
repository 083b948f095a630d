//! API tests: a real server, as a client sees it. The tree follows the URLs; `ops` has what an operator sees.

#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tokens.rs"]
mod tokens;
#[path = "../support/wire.rs"]
mod wire;

mod admin;
mod audit;
mod documentation;
mod http;
mod keys;
mod openapi;
mod ops;
mod self_key;
mod tenancy;
mod usage;
mod verification;
