//! Verdict: whether a key is good, for what is asked of it, at this instant.

use chrono::{DateTime, Utc};

use crate::domain::api_key::KeyStatus;
use crate::domain::scope::Scopes;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Valid,
    /// Also: not a secret of ours by its shape.
    NotFound,
    Revoked,
    Disabled,
    Expired,
    InsufficientScope,
}

impl Verdict {
    pub const ALL: [Self; 6] =
        [Self::Valid, Self::NotFound, Self::Revoked, Self::Disabled, Self::Expired, Self::InsufficientScope];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::NotFound => "NOT_FOUND",
            Self::Revoked => "REVOKED",
            Self::Disabled => "DISABLED",
            Self::Expired => "EXPIRED",
            Self::InsufficientScope => "INSUFFICIENT_SCOPE",
        }
    }

    /// The checks on a known key, in their order: what cannot be undone, what its owner did, what time did, and last
    /// what was asked. `ends` is the end of the key or of the presented secret, whichever is first. Limits and quotas
    /// stand behind these, on a key that is otherwise good.
    pub fn of(
        stored_status: KeyStatus,
        ends: Option<DateTime<Utc>>,
        held: &Scopes,
        required: &Scopes,
        now: DateTime<Utc>,
    ) -> Self {
        match stored_status {
            KeyStatus::Revoked => Self::Revoked,
            KeyStatus::Disabled => Self::Disabled,
            KeyStatus::Expired => Self::Expired,
            KeyStatus::Active if ends.is_some_and(|end| end <= now) => Self::Expired,
            KeyStatus::Active if !required.iter().all(|scope| held.contains(scope.as_str())) => Self::InsufficientScope,
            KeyStatus::Active => Self::Valid,
        }
    }
}
