//! Create: issues a new key.

use chrono::{DateTime, Utc};

use crate::domain::api_key::{ApiKey, SecretRecord};
use crate::domain::audit::{Action, AuditContext};
use crate::domain::authority::{Denial, KeyAction, authorize, expiry_limit};
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
    /// `None` for no expiry beyond the caller's own.
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
        let key = new_key(audit, owner, new, &record, self.allowed_scopes.as_ref())?;
        let event = audit.event(Action::Created, &key, audit_fields(&key).into());
        let issued = IssuedKey { key, secret, replayed: false };
        let hash = record.hash;
        let insert = KeyInsert { key: issued.key.clone(), secret: record, event, limit: self.max_keys_per_owner };
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
) -> Result<ApiKey, ServiceError> {
    let (pointer, expires_at) = resolve_expiry(&new, audit)?;
    let key = ApiKey {
        id: new_id(audit.at),
        owner: owner.clone(),
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

/// Returns the expiry of a new key, with the pointer of the field that requests it: the requested one, or the latest
/// that the caller may give.
fn resolve_expiry(
    new: &NewKey,
    audit: &AuditContext<'_>,
) -> Result<(&'static str, Option<DateTime<Utc>>), ServiceError> {
    let (pointer, expiry) = match new.expiry {
        Some(RequestedExpiry::At(time)) => ("/expires_at", time),
        Some(RequestedExpiry::After(lifetime)) => ("/expires_in_seconds", audit.at + lifetime),
        None => return Ok(("/expires_at", expiry_limit(audit.caller).map(|limit| limit.at))),
    };
    ensure_future(expiry, pointer, audit.at)?;
    Ok((pointer, Some(expiry)))
}
