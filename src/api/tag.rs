//! Tags: the groups of operations, and the path before all of them.

use poem_openapi::Tags;

/// The prefix of every operation's path.
pub const BASE: &str = "/api";

#[derive(Tags)]
pub enum Tag {
    /// Keys of the current user: made, looked after and ended by their owner.
    #[oai(rename = "API keys")]
    ApiKeys,
    /// Whether a key is good: the same answer in the words of this service, of proxies and of OAuth.
    Verification,
    /// What was changed in keys, by whom, when and from where.
    Audit,
    /// Keys of all owners, for a caller with the scope `api-keys:admin`.
    Administration,
}
