//! ServiceError: why a service failed or rejected a request.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use thiserror::Error;

use crate::domain::api_key::KeyStatus;
use crate::domain::authority::{Denial, MissingRight};
use crate::domain::key_limit::KeyLimit;
use crate::domain::precondition::PreconditionFailure;
use crate::domain::text_enum::text_enum;
use crate::domain::validation::ValidationError;
use crate::store::{Rejection, StoreError};

/// The reason for a failure, by what the caller can do about it.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// Fields of the request break rules; each with its JSON pointer (RFC 6901).
    #[error("{}", list(.0))]
    Invalid(Vec<(String, ValidationError)>),
    /// The caller is authenticated and lacks this right over the key.
    #[error("{0}")]
    MissingRight(MissingRight),
    /// No such key is visible to the caller. Keys of other owners give the same error, so that ids cannot be probed.
    #[error("there is no such key")]
    NotFound,
    /// The key's revision is none of those that the caller requires.
    #[error(transparent)]
    PreconditionFailed(#[from] PreconditionFailure),
    /// The key that makes the request was revoked, deleted or disabled after it was authenticated.
    #[error("the calling key has ended")]
    CallerEnded,
    /// The state of the key forbids the change.
    #[error("{}", .0.message())]
    Conflict(ConflictReason),
    /// The same `Idempotency-Key` was used before, with another body.
    #[error("the Idempotency-Key was used with another body")]
    IdempotencyKeyReused,
    /// The store is unreachable. The text is for the log, here and below.
    #[error("{0}")]
    Unavailable(String),
    /// The store responds and rejects the change.
    #[error("{reason}")]
    StoreRejected { rejection: Rejection, reason: String },
    /// The public keys of the token's issuer cannot be fetched.
    #[error("{reason}")]
    IssuerUnavailable { reason: String, retry_after: TimeDelta },
    /// The public key that the token names is not among those of its issuer, which may not be fetched again yet.
    #[error("{reason}")]
    IssuerKeyNotFetched { reason: String, retry_after: TimeDelta },
    /// An internal error or bug.
    #[error("{0}")]
    Internal(String),
}

text_enum! {
    /// What is unavailable, as a stable code for the log. docs/troubleshooting.md has the cure of each.
    pub enum Outage {
        Database = "database_unavailable",
        /// It responds and takes no changes.
        DatabaseChanges = "database_rejects_changes",
        IssuerKeys = "issuer_keys_unavailable",
        /// The key that the token names may not be looked up yet.
        IssuerKey = "issuer_key_not_fetched",
    }
}

/// The state of a key that forbids a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictReason {
    /// Only an active key can be rotated; this one is not.
    KeyNotActive(KeyStatus),
    /// The previous secret still works until this time, or another rotation was first.
    RotationInProgress(Option<DateTime<Utc>>),
    /// A revoked key cannot be changed.
    KeyRevoked,
    /// The owner has as many keys as one owner may have.
    TooManyKeys(KeyLimit),
}

impl ConflictReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::KeyNotActive(KeyStatus::Disabled),
        Self::RotationInProgress(None),
        Self::KeyRevoked,
        Self::TooManyKeys(KeyLimit::DEFAULT),
    ];

    /// A stable code for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::KeyNotActive(_) => "key-not-active",
            Self::RotationInProgress(_) => "rotation-in-progress",
            Self::KeyRevoked => "key-revoked",
            Self::TooManyKeys(_) => "too-many-keys",
        }
    }

    /// The reason in words, with what to do about it.
    pub fn message(self) -> String {
        let text = match self {
            Self::KeyNotActive(status) => {
                return format!("Only an active key can be rotated; this one is {}.", status.as_str());
            }
            Self::RotationInProgress(Some(until)) => {
                return format!(
                    "The key is being rotated: the old secret works until {}; retry then, or revoke the key if a secret has \
                     leaked.",
                    until.to_rfc3339_opts(SecondsFormat::Micros, true)
                );
            }
            Self::RotationInProgress(None) => {
                "The key is being rotated: another request was first, or the old secret still works; retry when the \
                 grace period is over, or revoke the key if a secret has leaked."
            }
            Self::KeyRevoked => "The key is permanently revoked; create a new one.",
            Self::TooManyKeys(limit) => {
                return format!(
                    "The owner has reached the limit of {limit} keys (--max-keys-per-owner); expired and disabled ones \
                     count. Revoke or delete a key that is not needed, then retry."
                );
            }
        };
        text.to_owned()
    }
}

impl ServiceError {
    /// An error of one field.
    pub(super) fn invalid(pointer: impl Into<String>, rule: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(vec![(pointer.into(), ValidationError(rule.into()))])
    }
}

impl From<Denial> for ServiceError {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::MissingRight(right) => Self::MissingRight(right),
            Denial::ExpiryTooLate(limit) => Self::invalid("/expires_at", limit.to_string()),
        }
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            // A database that does not fit this program is an operator's to fix; requests can be retried afterwards.
            StoreError::Unavailable(reason) | StoreError::ConnectionLost(reason) | StoreError::Incompatible(reason) => {
                Self::Unavailable(reason)
            }
            StoreError::Rejected(rejection, reason) => Self::StoreRejected { rejection, reason },
            StoreError::Internal(error) => Self::Internal(error.to_string()),
        }
    }
}

/// `field rule; field rule`, as the command line prints it.
fn list(errors: &[(String, ValidationError)]) -> String {
    let errors = errors.iter().map(|(pointer, rule)| format!("{} {rule}", pointer.trim_start_matches('/')));
    errors.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_displays_each_field_with_its_rule() {
        let error = ServiceError::Invalid(vec![
            ("/name".into(), ValidationError::new("is required")),
            ("/scopes/0".into(), ValidationError::new("is not allowed")),
        ]);
        assert_eq!(error.to_string(), "name is required; scopes/0 is not allowed");
    }
}
