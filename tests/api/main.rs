//! API tests: a real server, from the outside. The tree mirrors the URLs; `http` has what holds for all of them, `ops`
//! what concerns operators.

#[path = "../support/revocation_jobs.rs"]
mod revocation_jobs;
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
mod issuer_policy;
mod keys;
mod oauth;
mod openapi;
mod ops;
mod provider_tokens;
mod self_key;
mod tenancy;
mod usage;
mod verification;
