//! Authority: what a caller may do to the keys that it can see. [`authorize`] is the one place that decides it, for every
//! operation and for the command line.
//!
//! Whatever gives a key life or power needs the authority to grant all that the key then carries: a new secret, a new
//! scope, a later expiry, or enabling it. What only takes away is always allowed. Which keys a caller can see is the
//! matter of [`AccessFilter`](crate::domain::access::AccessFilter), and whether it may use an operation at all that of
//! [`Caller::has_permission`].

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::domain::api_key::ApiKey;
use crate::domain::caller::{Caller, Credential};
use crate::domain::scope::{Scope, Scopes};

/// What a caller asks to do.
#[derive(Debug, Clone, Copy)]
pub enum KeyAction<'a> {
    /// To create this key.
    Create(&'a ApiKey),
    /// To change a key from one state to another.
    Update { before: &'a ApiKey, after: &'a ApiKey },
    /// To get a new secret of this key.
    Rotate(&'a ApiKey),
    /// To get the secret of this key again that an earlier request with the same `Idempotency-Key` got.
    Replay(&'a ApiKey),
    /// To revoke any key.
    Revoke,
    /// To delete any key.
    Delete,
}

/// Why a caller may not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// The caller lacks a right over the key.
    MissingRight(MissingRight),
    /// The requested expiry is later than the caller may set; an earlier one is allowed.
    ExpiryTooLate(ExpiryLimit),
}

/// The right that a caller lacks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MissingRight {
    /// To grant this scope, which the key has or would have.
    #[error("the caller cannot grant the scope {}", .0.as_str())]
    Scope(Scope),
    /// To give life to a key that expires later than the calling key.
    #[error("the key expires {}, and the key that makes the request expires at {caller_expires_at:?}", when(.key_expires_at))]
    Lifetime { key_expires_at: Option<DateTime<Utc>>, caller_expires_at: DateTime<Utc> },
}

/// The latest expiry that a caller may give to a key. Displays as the rule that a later one breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be {at:?} at the latest, {}", .rule.description())]
pub struct ExpiryLimit {
    pub at: DateTime<Utc>,
    pub rule: ExpiryRule,
}

/// What sets the latest expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryRule {
    /// The end of the key, or of the secret in its grace period, that makes the request.
    CallingKey,
}

impl ExpiryRule {
    /// The rule as an apposition to the latest expiry.
    pub const fn description(self) -> &'static str {
        match self {
            Self::CallingKey => "the expiry of the key that makes this request",
        }
    }
}

/// Decides whether the caller may do this.
pub fn authorize(caller: &Caller, action: KeyAction<'_>) -> Result<(), Denial> {
    match action {
        KeyAction::Create(key) => {
            ensure_can_grant(caller, &key.scopes)?;
            ensure_within_limit(caller, key)
        }
        KeyAction::Rotate(key) | KeyAction::Replay(key) => {
            ensure_can_grant(caller, &key.scopes)?;
            ensure_within_life_of_caller(caller, key)
        }
        KeyAction::Update { before, after } => authorize_update(caller, before, after),
        KeyAction::Revoke | KeyAction::Delete => Ok(()),
    }
}

fn authorize_update(caller: &Caller, before: &ApiKey, after: &ApiKey) -> Result<(), Denial> {
    // A key as caller manages only keys that it could have made. A user manages all of its own.
    if is_key(caller) && !only_takes_away(before, after) {
        ensure_can_grant(caller, &before.scopes)?;
    }
    if !restores(before, after) {
        return Ok(());
    }
    ensure_can_grant(caller, &after.scopes)?;
    if ends_later(after.expires_at, before.expires_at) {
        ensure_within_limit(caller, after)
    } else {
        ensure_within_life_of_caller(caller, after)
    }
}

/// True if the change gives the key life or power that it does not have.
fn restores(before: &ApiKey, after: &ApiKey) -> bool {
    ends_later(after.expires_at, before.expires_at)
        || (after.enabled && !before.enabled)
        || after.scopes.iter().any(|scope| !before.scopes.contains(scope.as_str()))
}

/// True if the change disables the key, shortens its life or drops scopes, and does nothing else.
fn only_takes_away(before: &ApiKey, after: &ApiKey) -> bool {
    !restores(before, after) && after.name == before.name && after.metadata == before.metadata
}

/// True if the caller may put this scope on a key. A key grants only scopes that it has; a user any, except the reserved
/// ones, which a user must have, too.
fn can_grant(caller: &Caller, scope: &Scope) -> bool {
    match caller.credential {
        Credential::Operator => true,
        Credential::Token if !scope.is_reserved() => true,
        Credential::Token | Credential::Key { .. } => caller.scopes.contains(scope.as_str()),
    }
}

fn ensure_can_grant(caller: &Caller, scopes: &Scopes) -> Result<(), Denial> {
    match scopes.iter().find(|scope| !can_grant(caller, scope)) {
        Some(scope) => Err(Denial::MissingRight(MissingRight::Scope(scope.clone()))),
        None => Ok(()),
    }
}

/// Returns the latest expiry that the caller may give to a new key; `None` if there is no limit.
pub fn expiry_limit(caller: &Caller) -> Option<ExpiryLimit> {
    caller_expiry(caller).map(|at| ExpiryLimit { at, rule: ExpiryRule::CallingKey })
}

/// Returns the latest expiry that the caller may leave this key with: the limit, or the present one if that is later.
pub fn latest_expiry(caller: &Caller, key: &ApiKey) -> Option<DateTime<Utc>> {
    let limit = expiry_limit(caller)?.at;
    key.expires_at.map(|present| present.max(limit))
}

fn ensure_within_limit(caller: &Caller, key: &ApiKey) -> Result<(), Denial> {
    match expiry_limit(caller) {
        Some(limit) if ends_later(key.expires_at, Some(limit.at)) => Err(Denial::ExpiryTooLate(limit)),
        _ => Ok(()),
    }
}

fn ensure_within_life_of_caller(caller: &Caller, key: &ApiKey) -> Result<(), Denial> {
    match caller_expiry(caller) {
        Some(caller_expires_at) if ends_later(key.expires_at, Some(caller_expires_at)) => {
            let key_expires_at = key.expires_at;
            Err(Denial::MissingRight(MissingRight::Lifetime { key_expires_at, caller_expires_at }))
        }
        _ => Ok(()),
    }
}

/// The end of the credential, if it is a key.
fn caller_expiry(caller: &Caller) -> Option<DateTime<Utc>> {
    match caller.credential {
        Credential::Key { expires_at, .. } => expires_at,
        Credential::Token | Credential::Operator => None,
    }
}

fn is_key(caller: &Caller) -> bool {
    matches!(caller.credential, Credential::Key { .. })
}

/// An expiry in a sentence.
fn when(expires_at: &Option<DateTime<Utc>>) -> String {
    expires_at.map_or_else(|| "never".to_owned(), |at| format!("at {at:?}"))
}

/// True if the first expiry is later than the second. `None` is never.
fn ends_later(first: Option<DateTime<Utc>>, second: Option<DateTime<Utc>>) -> bool {
    second.is_some_and(|second| first.is_none_or(|first| first > second))
}
