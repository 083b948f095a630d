//! Create: issues a new key.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::api_key::{ApiKey, SecretRecord};
use crate::domain::audit::{Action, AuditContext};
use crate::domain::authority::{Denial, KeyAction, authorize, expiry_limit};
use crate::domain::caller::CallingKey;
use crate::domain::id::new_id;
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner;
use crate::domain::scope::Scopes;
use crate::service::errors::{ConflictReason, ServiceError};
use crate::service::idempotency::IdempotentRequest;
use crate::service::keys::{
    IssuedKey, KeyService, NewSecret, RequestedExpiry, audit_fields, check_allowed, ensure_future,
};
use crate::store::{InsertOutcome, KeyInsert};

/// The requested properties of a key. Its owner is not among them: over HTTP it is the caller's.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub name: KeyName,
    pub scopes: Scopes,
    pub metadata: Metadata,
    /// `None` for the default of the deployment, or the latest that the caller may set.
    pub expiry: Option<RequestedExpiry>,
}

impl KeyService {
    /// Creates a key. With an idempotent request that was completed before, returns its response and creates nothing.
    pub async fn create(
        &self,
        audit: &AuditContext<'_>,
        owner: &Owner,
        new: NewKey,
        request: Option<IdempotentRequest>,
    ) -> Result<IssuedKey, ServiceError> {
        let result = self.create_or_replay(audit, owner, new, request).await;
        self.record_refusal(audit, "create", None, result).await
    }

    async fn create_or_replay(
        &self,
        audit: &AuditContext<'_>,
        owner: &Owner,
        new: NewKey,
        request: Option<IdempotentRequest>,
    ) -> Result<IssuedKey, ServiceError> {
        if let Some(request) = &request
            && let Some(saved) = Box::pin(self.store.find_saved_response(&request.response_ids(), audit.at)).await?
        {
            return Box::pin(self.replay(audit, request.open(&saved)?)).await;
        }
        let NewSecret { secret, record } = self.mint(audit.at)?;
        let key = new_key(audit, owner, new, &record, self.allowed_scopes.as_ref(), self.default_lifetime)?;
        let event = audit.event(Action::Created, &key, audit_fields(&key).into());
        let issued = IssuedKey { key, secret, replayed: false };
        let hash = record.hash;
        let insert = KeyInsert {
            key: issued.key.clone(),
            secret: record,
            event,
            calling_key: CallingKey::of(audit.caller, &self.clock),
            limit: self.max_keys_per_owner,
        };
        let responses = request.as_ref().map_or(Ok(Vec::new()), |request| request.seal(&issued, audit.at))?;
        match (self.store.create_key_once(insert, responses).await?, request) {
            (InsertOutcome::Inserted, _) => {}
            // A concurrent request with the same idempotency key was first.
            (InsertOutcome::Replayed(saved), Some(request)) => {
                return Box::pin(self.replay(audit, request.open(&saved)?)).await;
            }
            (InsertOutcome::Replayed(_), None) => {
                return Err(ServiceError::Internal("a response was saved for a request without a key".into()));
            }
            (InsertOutcome::TooManyKeys, _) => {
                return Err(ServiceError::Conflict(ConflictReason::TooManyKeys(self.max_keys_per_owner)));
            }
            (InsertOutcome::CreatorEnded, _) => return Err(ServiceError::CallerEnded),
        }
        // Increments the generation of the hash, which invalidates a cached "not found": a lookup may have read the
        // database just before the insert.
        self.cache.invalidate(&hash);
        Ok(issued)
    }
}

/// Makes the key that is requested, if the caller may have it.
pub(super) fn new_key(
    audit: &AuditContext<'_>,
    owner: &Owner,
    new: NewKey,
    secret: &SecretRecord,
    allowed: Option<&Scopes>,
    default_lifetime: Option<TimeDelta>,
) -> Result<ApiKey, ServiceError> {
    let (pointer, expires_at) = resolve_expiry(&new, default_lifetime, audit)?;
    let key = ApiKey {
        id: new_id(audit.at),
        owner: owner.clone(),
        created_by_key: audit.caller.credential.key_id(),
        name: new.name,
        scopes: new.scopes,
        metadata: new.metadata,
        enabled: true,
        start: secret.start.clone(),
        last4: secret.last4.clone(),
        created_at: audit.at,
        updated_at: audit.at,
        expires_at,
        revocation: None,
        deleted_at: None,
        revision: 1,
    };
    authorize(audit.caller, KeyAction::Create(&key)).map_err(|denial| match denial {
        Denial::ExpiryTooLate(limit) => ServiceError::invalid(pointer, limit.to_string()),
        denial => denial.into(),
    })?;
    check_allowed(&key.scopes, &Scopes::default(), allowed)?;
    Ok(key)
}

/// Returns the expiry of a new key, with the pointer of the field that requests it: the requested one, or by default
/// that of the deployment, if it sets one, and at most the latest that the caller may set.
fn resolve_expiry(
    new: &NewKey,
    default_lifetime: Option<TimeDelta>,
    audit: &AuditContext<'_>,
) -> Result<(&'static str, Option<DateTime<Utc>>), ServiceError> {
    let (pointer, expiry) = match new.expiry {
        Some(RequestedExpiry::At(time)) => ("/expires_at", time),
        Some(RequestedExpiry::After(lifetime)) => ("/expires_in_seconds", audit.at + lifetime),
        None => {
            let default = default_lifetime.map(|lifetime| audit.at + lifetime);
            let limit = expiry_limit(audit.caller, audit.at).map(|limit| limit.at);
            return Ok(("/expires_at", default.into_iter().chain(limit).min()));
        }
    };
    ensure_future(expiry, pointer, audit.at)?;
    Ok((pointer, Some(expiry)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::RequestSource;
    use crate::domain::caller::{Caller, Credential};
    use crate::domain::issuer_policy::IssuerPolicy;
    use crate::service::keys::tests::{at, caller};
    use crate::service::tests::config;
    use crate::service::{ServiceConfig, Services};
    use crate::store::Store;

    /// Creates a key at 10 and returns its expiry, in seconds since the epoch.
    async fn expiry_of_new_key(
        default: Option<i64>,
        max: Option<i64>,
        requested: Option<RequestedExpiry>,
    ) -> Result<Option<i64>, String> {
        let store = Store::open("sqlite::memory:", 1).await.unwrap();
        let config = ServiceConfig { default_lifetime: default.map(TimeDelta::seconds), ..config() };
        let services = Services::new(store, config);
        let policy = IssuerPolicy { max_lifetime: max.map(TimeDelta::seconds), ..IssuerPolicy::BUILT_IN };
        let user = Caller { policy, ..caller(Credential::Token, &[]) };
        let audit = AuditContext { caller: &user, source: &RequestSource::default(), at: at(10) };
        let new = NewKey {
            name: KeyName::from_db("n".into()),
            scopes: Scopes::default(),
            metadata: Metadata::default(),
            expiry: requested,
        };
        match services.keys.create(&audit, &user.owner, new, None).await {
            Ok(issued) => Ok(issued.key.expires_at.map(|expiry| expiry.timestamp())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn create_without_expiry_takes_the_default_within_the_maximum() {
        for (default, max, expiry) in [
            (None, None, None),
            (Some(60), None, Some(70)),
            (None, Some(30), Some(40)),
            (Some(60), Some(30), Some(40)),
            (Some(30), Some(60), Some(40)),
        ] {
            assert_eq!(expiry_of_new_key(default, max, None).await, Ok(expiry), "{default:?} {max:?}");
        }
    }

    #[tokio::test]
    async fn create_takes_an_expiry_up_to_the_maximum() {
        let after = |seconds| Some(RequestedExpiry::After(TimeDelta::seconds(seconds)));
        assert_eq!(expiry_of_new_key(Some(5), Some(30), after(30)).await, Ok(Some(40)));
        assert_eq!(expiry_of_new_key(Some(5), Some(30), Some(RequestedExpiry::At(at(40)))).await, Ok(Some(40)));
        for beyond in [after(31), Some(RequestedExpiry::At(at(41)))] {
            let error = expiry_of_new_key(None, Some(30), beyond).await.unwrap_err();
            assert!(error.contains("1970-01-01T00:00:40Z") && error.contains("max-lifetime"), "{error}");
        }
        assert_eq!(expiry_of_new_key(Some(5), None, after(31)).await, Ok(Some(41)), "the default is no limit");
    }
}
