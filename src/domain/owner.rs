//! Owner: the user that an API key belongs to.

use serde::{Deserialize, Serialize};

/// The issuer, subject and organization of the token that created a key. All three identify the owner: a subject is
/// unique only within its issuer (OpenID Connect Core, section 5.7), and what a user does in one organization is no
/// concern of another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `sub`.
    pub subject: String,
    /// The token's organization claim, if the issuer is configured with one and the token has it. Never empty.
    pub organization: Option<String>,
}
