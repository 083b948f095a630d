//! Headers of requests and responses, one file each.
//!
//! A header that an operation reads is an extractor with a parameter in the document, so that generated clients can send it.

pub mod idempotency_key;
pub mod if_match;
pub mod link;
pub mod location;
pub mod user_agent;
