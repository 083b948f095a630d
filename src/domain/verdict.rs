//! Verdict: whether a key is valid for the required scopes at one time.

use chrono::{DateTime, Utc};

use crate::domain::api_key::KeyStatus;
use crate::domain::scope::{RequiredScopes, Scopes};
use crate::domain::text_enum::text_enum;

text_enum! {
    /// The result of a verification.
    pub enum Verdict {
        Valid = "VALID",
        /// No key has this secret, or it is malformed.
        NotFound = "NOT_FOUND",
        Revoked = "REVOKED",
        Disabled = "DISABLED",
        /// The key, or this secret alone, has expired.
        Expired = "EXPIRED",
        /// The key lacks a required scope.
        InsufficientScope = "INSUFFICIENT_SCOPE",
    }
}

impl Verdict {
    /// Checks a key in a fixed order: revocation, which is permanent, then disabling, expiry, and scopes. `expires_at` is
    /// the expiry of the key or of the presented secret, whichever is first.
    pub fn of(
        stored_status: KeyStatus,
        expires_at: Option<DateTime<Utc>>,
        held: &Scopes,
        required: &RequiredScopes,
        now: DateTime<Utc>,
    ) -> Self {
        match stored_status {
            KeyStatus::Revoked => Self::Revoked,
            KeyStatus::Disabled => Self::Disabled,
            KeyStatus::Expired => Self::Expired,
            KeyStatus::Active if expires_at.is_some_and(|expiry| expiry <= now) => Self::Expired,
            KeyStatus::Active if !required.are_in(held) => Self::InsufficientScope,
            KeyStatus::Active => Self::Valid,
        }
    }
}
