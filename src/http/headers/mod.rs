//! Headers of requests and responses, one file each.
//!
//! The document describes those of requests in words, not as parameters. A tool that generates parameter values would get
//! 412 for every `If-Match` and 422 for a reused `Idempotency-Key`, and report valid requests as rejected.

pub mod idempotency_key;
pub mod if_match;
pub mod link;
pub mod user_agent;
