//! Tags: the groups of operations, and the path before all of them.

use poem_openapi::Tags;

/// The prefix of every operation's path.
pub const BASE: &str = "/api";

#[derive(Tags)]
pub enum Tag {
    /// Create and manage the current user's keys.
    #[oai(rename = "API keys")]
    ApiKeys,
    /// Check whether a key is valid: JSON API, proxy forward-auth, and OAuth 2.0 introspection.
    Verification,
    /// History of changes to keys.
    Audit,
    /// Manage keys of other owners. Requires `api-keys:admin`.
    Administration,
}
