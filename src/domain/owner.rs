//! Owner: the user that an API key belongs to.

use serde::{Deserialize, Serialize};

/// The issuer, subject and organization of the token that created a key. A subject is unique only within its issuer
/// (OpenID Connect Core, section 5.7), so the two belong together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `sub`.
    pub subject: String,
    /// The token's organization claim, if the issuer is configured with one and the token has it.
    pub organization: Option<String>,
}
