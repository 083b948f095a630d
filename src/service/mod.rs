//! Service: what the product does, whoever asks and by whatever protocol. One struct, its methods spread by resource.

pub mod audit;
pub mod auth;
pub mod built_in_issuer;
pub mod cache;
pub mod idempotency;
pub mod issuer;
pub mod keys;
pub mod readiness;
pub mod usage;
pub mod verify;

use std::fmt;
use std::sync::Arc;

use crate::domain::clock::Clock;
use crate::domain::owner::Owner;
use crate::domain::scope::Scopes;
use crate::domain::secret::SecretPrefix;
use crate::domain::secret_hash::Peppers;
use crate::domain::validation::ValidationError;
use crate::store::{Store, StoreError};

#[derive(Clone)]
pub struct Service {
    pub store: Store,
    pub clock: Clock,
    pub peppers: Peppers,
    pub prefix: SecretPrefix,
    /// The scopes that keys may carry, when the deployment has a list of them.
    pub allowed_scopes: Option<Arc<Scopes>>,
    /// Whose access tokens are believed.
    pub issuers: Arc<[issuer::TrustedIssuer]>,
    pub tokens: Arc<auth::VerifiedTokens>,
    pub cache: Arc<cache::KeyCache<verify::cached_key::CachedKey>>,
    /// Of the keys in the cache.
    pub owners: Arc<verify::cached_key::Shared<Owner>>,
    pub scopes: Arc<verify::cached_key::Shared<Scopes>>,
    pub answers: Arc<verify::Answers>,
    pub usage: Arc<usage::Usage>,
}

/// Why the service did not do what it was asked.
#[derive(Debug)]
pub enum ServiceError {
    /// ObjectReader of the request break rules; each with its JSON pointer (RFC 6901).
    Invalid(Vec<(String, ValidationError)>),
    /// The caller is known and lacks this scope.
    MissingScope(String),
    /// There is no such key within the caller's reach.
    NotFound,
    /// The key is not what the caller believed it to be.
    PreconditionFailed,
    /// The state of the key forbids it; `kind` is for programs, `detail` for people.
    Conflict { kind: &'static str, detail: &'static str },
    /// The same `Idempotency-Key` came with another body.
    IdempotencyKeyReused,
    /// The store cannot be asked now; the words are for the log, here and below.
    Unavailable(String),
    /// An issuer cannot be asked for its keys now.
    IssuerUnavailable(String),
    /// A mistake or a failure of ours.
    Internal(String),
}

impl ServiceError {
    fn conflict(kind: &'static str, detail: &'static str) -> Self {
        Self::Conflict { kind, detail }
    }

    fn invalid(pointer: impl Into<String>, rule: &'static str) -> Self {
        Self::Invalid(vec![(pointer.into(), ValidationError::new(rule))])
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(broken) => {
                broken.iter().try_for_each(|(pointer, rule)| write!(f, "{} {rule}; ", pointer.trim_start_matches('/')))
            }
            Self::NotFound => f.write_str("there is no such key"),
            Self::PreconditionFailed => f.write_str("the key has changed meanwhile"),
            Self::Conflict { detail, .. } => f.write_str(detail),
            Self::IdempotencyKeyReused => f.write_str("the Idempotency-Key was used with another body"),
            Self::MissingScope(scope) => write!(f, "the caller lacks the scope {scope}"),
            Self::Unavailable(reason) | Self::IssuerUnavailable(reason) | Self::Internal(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ServiceError {}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(reason) | StoreError::Incompatible(reason) => Self::Unavailable(reason),
            StoreError::Internal(error) => Self::Internal(error.to_string()),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A service on a database in memory, for what does not touch the cache.
    pub async fn service() -> Service {
        let peppers = Peppers::derive(&"m".repeat(32)).unwrap();
        Service {
            store: Store::open("sqlite::memory:", 1).await.unwrap(),
            clock: Clock::System,
            tokens: auth::VerifiedTokens::new(&peppers).into(),
            peppers,
            prefix: "mk".parse().unwrap(),
            allowed_scopes: None,
            issuers: Vec::new().into(),
            cache: Arc::new(cache::KeyCache::new(1, std::time::Duration::ZERO, std::time::Duration::ZERO)),
            owners: Arc::default(),
            scopes: Arc::default(),
            answers: Arc::default(),
            usage: Arc::default(),
        }
    }
}
