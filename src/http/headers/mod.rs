//! Headers of requests and responses, one file each.
//!
//! `If-Match` is a parameter in the document, so that generated clients can send it. `Idempotency-Key` is described in words:
//! a tool that generates parameter values would reuse one, get 422, and report a valid request as rejected.

pub mod idempotency_key;
pub mod if_match;
pub mod link;
pub mod user_agent;
