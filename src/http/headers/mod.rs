//! Headers: the ones that carry meaning of their own, in and out.
//!
//! Those of requests stand in the document in words, not as parameters: a tool that makes up values for parameters would
//! be answered 412 for every `If-Match`, and 422 for an `Idempotency-Key` that it sends with a second body, and would
//! report good requests as refused.

pub mod idempotency_key;
pub mod if_match;
pub mod link;
pub mod user_agent;
