//! Keys: the rules by which API keys are created, changed and revoked. One file per operation; what several need is here.
//!
//! An operation that changes a key is a pure function from the stored key to the changed one with its audit event. The
//! store runs it inside a transaction, with the key locked, so that it decides on the newest state.

mod create;
mod delete;
mod get;
pub mod issued_key;
mod list;
pub(super) mod refusal_log;
mod revoke;
mod rotate;
mod update;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyRecord, SecretRecord};
use crate::domain::audit::AuditContext;
use crate::domain::authority::{KeyAction, authorize};
use crate::domain::caller::{Caller, CallingKey};
use crate::domain::clock::Clock;
use crate::domain::id::new_id;
use crate::domain::idempotency_key::IdempotencyKey;
use crate::domain::key_limit::KeyLimit;
use crate::domain::precondition::Precondition;
use crate::domain::scope::{Scope, Scopes};
use crate::domain::secret::{Entropy, Secret, SecretPrefix};
use crate::domain::secret_hash::Peppers;
use crate::domain::validation::ValidationError;
use crate::service::cache::KeyCache;
use crate::service::errors::{ConflictReason, ServiceError};
use crate::service::idempotency::IdempotentRequest;
use crate::service::keys::refusal_log::RefusalLog;
use crate::service::verify::cached_key::CachedKey;
use crate::store::{KeyChange, LockedKey, Store};

pub use crate::service::keys::create::NewKey;
pub use crate::service::keys::issued_key::IssuedKey;
pub use crate::service::keys::list::KeyQuery;
pub use crate::service::keys::refusal_log::RefusalStats;
pub use crate::service::keys::revoke::{RevocationRequest, RevokedKey};
pub use crate::service::keys::update::KeyPatch;
pub use crate::store::KeyFilter;

/// Creates, reads, changes and revokes keys.
pub struct KeyService {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) peppers: Peppers,
    pub(super) prefix: SecretPrefix,
    pub(super) allowed_scopes: Option<Scopes>,
    pub(super) default_lifetime: Option<TimeDelta>,
    pub(super) max_keys_per_owner: KeyLimit,
    /// Whether a revocation includes the key's descendants if its request does not say.
    pub(super) revoke_descendants: bool,
    pub(super) cache: Arc<KeyCache<CachedKey>>,
    pub(super) refusals: RefusalLog,
}

/// When a key shall expire, as the caller expresses it.
#[derive(Debug, Clone, Copy)]
pub enum RequestedExpiry {
    /// At this time.
    At(DateTime<Utc>),
    /// After this time from now.
    After(TimeDelta),
}

/// A new secret and what the store keeps of it.
struct NewSecret {
    secret: Secret<'static>,
    record: SecretRecord,
}

impl KeyService {
    /// Identifies a request. An idempotency key belongs to its caller and to one operation; `body` are the bytes that a
    /// repetition must repeat.
    pub fn idempotent_request(
        &self,
        caller: &Caller,
        operation: &str,
        key: &IdempotencyKey,
        body: &[u8],
    ) -> IdempotentRequest {
        IdempotentRequest::new(&self.peppers, caller, operation, key, body)
    }

    /// Deletes responses that can no longer be replayed.
    pub async fn delete_expired_responses(&self) -> Result<(), ServiceError> {
        Ok(self.store.delete_expired_responses(self.clock.now()).await?)
    }

    fn mint(&self, now: DateTime<Utc>) -> Result<NewSecret, ServiceError> {
        let entropy = Entropy::from_os().map_err(|error| ServiceError::Internal(format!("no entropy: {error}")))?;
        let secret = Secret::mint(&self.prefix, &entropy, now);
        let pepper = self.peppers.newest();
        let record = SecretRecord {
            id: new_id(now),
            hash: pepper.hash(&secret),
            pepper_id: pepper.id().to_owned(),
            start: secret.start().to_owned(),
            last4: secret.last4().to_owned(),
            created_at: now,
            expires_at: None,
            last_used_at: None,
        };
        Ok(NewSecret { secret, record })
    }

    /// Refused operations since the start.
    pub fn refusals(&self) -> RefusalStats {
        self.refusals.stats()
    }

    /// Records an operation that was refused because the caller lacks a right, and returns its result.
    async fn record_refusal<T>(
        &self,
        audit: &AuditContext<'_>,
        operation: &str,
        key_id: Option<Uuid>,
        result: Result<T, ServiceError>,
    ) -> Result<T, ServiceError> {
        if let Err(ServiceError::MissingRight(right)) = &result {
            // Boxed: a refusal is rare, and every create would reserve the space that it needs.
            Box::pin(self.refusals.record(&audit.caller.owner, audit.refusal(operation, key_id, right))).await;
        }
        result
    }

    /// Returns what an earlier request with the same `Idempotency-Key` got, if the caller may have a secret of that key
    /// as it is now: the caller may have lost scopes since, and the key may have got more.
    async fn replay(&self, audit: &AuditContext<'_>, issued: IssuedKey) -> Result<IssuedKey, ServiceError> {
        let current = self.store.find_key(AccessFilter::Owner(&issued.key.owner), issued.key.id).await?;
        let key = current.as_ref().map_or(&issued.key, |record| &record.key);
        authorize(audit.caller, KeyAction::Replay(key))?;
        Ok(issued)
    }

    /// Runs a change that needs no idempotency key, because repeating it has no further effect. `calling_key` is the key
    /// that must still authenticate the caller; `None` for a change that only takes away.
    async fn change_key(
        &self,
        access: AccessFilter<'_>,
        id: Uuid,
        calling_key: Option<CallingKey>,
        precondition: &Precondition,
        apply: impl FnOnce(KeyRecord) -> Result<KeyChange, ServiceError>,
    ) -> Result<KeyRecord, ServiceError> {
        let apply = |locked: LockedKey| {
            ensure_current(calling_key.as_ref(), &locked)?;
            let record = or_not_found(locked.record)?;
            precondition.check(&record.key)?;
            Ok((apply(record)?, ()))
        };
        let calling_id = calling_key.as_ref().map(|key| key.id);
        let (record, ()) = self.store.change_key::<_, ServiceError>(access, id, calling_id, apply).await??;
        self.invalidate_secrets(&record);
        Ok(record)
    }

    /// Makes a committed change take effect in this process, before its response is sent.
    fn invalidate_secrets(&self, record: &KeyRecord) {
        record.secrets.iter().for_each(|secret| self.cache.invalidate(&secret.hash));
    }
}

/// Rejects a change by a key that would not authenticate the caller any more.
fn ensure_current(calling_key: Option<&CallingKey>, locked: &LockedKey) -> Result<(), ServiceError> {
    match calling_key {
        Some(key) if !key.is_current(locked.calling_key.as_ref()) => Err(ServiceError::CallerEnded),
        _ => Ok(()),
    }
}

/// A key that does not exist and a key of another owner give the same error.
fn or_not_found(record: Option<KeyRecord>) -> Result<KeyRecord, ServiceError> {
    record.ok_or(ServiceError::NotFound)
}

/// Checks that the deployment allows the scopes. Those that the key `held` before are exempt, as are the reserved ones.
fn check_allowed(scopes: &Scopes, held: &Scopes, allowed: Option<&Scopes>) -> Result<(), ServiceError> {
    let Some(allowed) = allowed else { return Ok(()) };
    let is_allowed =
        |scope: &Scope| scope.is_reserved() || held.contains(scope.as_str()) || allowed.contains(scope.as_str());
    let errors = scopes.iter().enumerate().filter(|(_, scope)| !is_allowed(scope));
    let errors: Vec<_> = errors.map(|(index, _)| (format!("/scopes/{index}"), NOT_ALLOWED)).collect();
    if errors.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(errors)) }
}

const NOT_ALLOWED: ValidationError = ValidationError::new("is not among the scopes that this deployment allows");

/// Checks that a requested expiry is in the future.
fn ensure_future(expiry: DateTime<Utc>, pointer: &str, now: DateTime<Utc>) -> Result<(), ServiceError> {
    if expiry > now { Ok(()) } else { Err(ServiceError::invalid(pointer, "must be in the future")) }
}

/// Rejects a change of a revoked key.
fn ensure_not_revoked(key: &ApiKey) -> Result<(), ServiceError> {
    match key.revocation {
        Some(_) => Err(ServiceError::Conflict(ConflictReason::KeyRevoked)),
        None => Ok(()),
    }
}

/// The fields of a key that an `updated` event reports, by their names in the API.
fn audit_fields(key: &ApiKey) -> Map<String, Value> {
    // Without `..`, so that a new field must be reported here or listed among those that are not: they never change, or
    // events of their own report them.
    let ApiKey {
        name,
        scopes,
        metadata,
        expires_at,
        id: _,
        owner: _,
        created_by_key: _,
        enabled: _,
        start: _,
        last4: _,
        created_at: _,
        updated_at: _,
        revocation: _,
        deleted_at: _,
        revision: _,
    } = key;
    let fields = [
        ("name", json!(name.as_str())),
        ("scopes", json!(scopes)),
        ("metadata", metadata.as_object().clone().into()),
        ("expires_at", json!(expires_at)),
    ];
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

#[cfg(test)]
mod escalation;

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::domain::api_key;
    use crate::domain::caller::Credential;
    use crate::domain::issuer_policy::IssuerPolicy;
    use crate::domain::key_name::KeyName;
    use crate::domain::owner::Owner;
    use crate::domain::secret_hash::SecretHash;

    pub fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    pub fn caller(credential: Credential, scopes: &[&str]) -> Caller {
        Caller {
            owner: Owner { issuer: "i".into(), subject: "s".into(), organization: None }.into(),
            scopes: Scopes::from_untrusted_lossy(scopes.iter().copied()).into(),
            credential,
            policy: IssuerPolicy::BUILT_IN,
        }
    }

    /// A caller with an API key that expires at this time, and these scopes.
    pub fn key_caller(expires_at: Option<i64>, scopes: &[&str]) -> Caller {
        caller(Credential::Key { id: Uuid::nil(), secret_id: Uuid::nil(), expires_at: expires_at.map(at) }, scopes)
    }

    pub fn secret(created_at: i64, expires_at: Option<i64>) -> SecretRecord {
        SecretRecord {
            id: new_id(at(created_at)),
            hash: SecretHash([created_at as u8; 32]),
            pepper_id: "p".into(),
            start: format!("mk_{created_at}"),
            last4: "last".into(),
            created_at: at(created_at),
            expires_at: expires_at.map(at),
            last_used_at: None,
        }
    }

    /// An active key with one secret, created one second after the epoch.
    pub fn record(scopes: &[&str], expires_at: Option<i64>) -> KeyRecord {
        let secret = secret(1, None);
        let key = ApiKey {
            name: KeyName::from_db("name".into()),
            scopes: Scopes::from_untrusted_lossy(scopes.iter().copied()),
            start: secret.start.clone(),
            last4: secret.last4.clone(),
            expires_at: expires_at.map(at),
            ..api_key::tests::key()
        };
        KeyRecord { key, secrets: vec![secret] }
    }

    #[test]
    fn check_allowed_rejects_scopes_outside_the_allowed_ones() {
        let scopes = |texts: &[&str]| Scopes::from_untrusted_lossy(texts.iter().copied());
        let allowed = scopes(&["a"]);
        let check = |wanted: &[&str], held: &[&str]| check_allowed(&scopes(wanted), &scopes(held), Some(&allowed));
        assert!(check(&["a", "api-keys:verify"], &[]).is_ok());
        assert!(check(&["b"], &["b"]).is_ok());
        let Err(ServiceError::Invalid(errors)) = check(&["a", "b", "c"], &["b"]) else { panic!("c is not allowed") };
        assert_eq!(errors.into_iter().map(|(pointer, _)| pointer).collect::<Vec<_>>(), ["/scopes/2"]);
    }
}
