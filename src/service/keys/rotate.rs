//! Rotate: a new secret for the same key. The old one lives on for the grace, so that its users can move.

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{KeyRecord, KeyStatus, SecretRecord};
use crate::domain::audit::{Action, AuditContext};
use crate::domain::caller::Credential;
use crate::domain::secret::Secret;
use crate::service::idempotency::IdempotentRequest;
use crate::service::keys::{IssuedKey, present};
use crate::service::{Service, ServiceError};
use crate::store::{ChangeOutcome, KeyChange};

/// A rotation to apply to a key.
struct Rotation {
    secret: Secret<'static>,
    stored: SecretRecord,
    grace: TimeDelta,
    /// The id of the secret to replace: the current one when the request came.
    replaces: Option<Uuid>,
}

impl Service {
    /// Replaces the current secret by a new one. The old one works until `grace` ends, or until its own or the key's
    /// expiry if that is earlier.
    pub async fn rotate_key(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        grace: TimeDelta,
        request: Option<IdempotentRequest>,
    ) -> Result<IssuedKey, ServiceError> {
        let (secret, stored) = self.mint(audit.at)?;
        // Of concurrent rotations, the first one to get the lock replaces this secret. The others then find another.
        let current = self.store.find_key(access, id).await?;
        let replaces = current.and_then(|record| record.secrets.first().map(|current| current.id));
        let rotation = Rotation { secret, stored, grace, replaces };
        let apply = |record| rotate(present(record)?, rotation, audit);
        let (record, issued) = match &request {
            None => self.store.change_key(access, id, apply).await??,
            Some(request) => {
                let apply = |record| {
                    let (change, issued) = apply(record)?;
                    let response = request.seal(&issued, audit.at)?;
                    Ok((change, issued, response))
                };
                match self.store.change_key_once(access, id, request.id(), audit.at, apply).await? {
                    ChangeOutcome::Applied { record, value } => (record, value),
                    ChangeOutcome::Replayed(response) => return request.open(&response),
                    ChangeOutcome::Rejected(error) => return Err(error),
                }
            }
        };
        self.forget(&record);
        Ok(issued)
    }
}

fn rotate(
    mut record: KeyRecord,
    Rotation { secret, stored, grace, replaces }: Rotation,
    audit: &AuditContext<'_>,
) -> Result<(KeyChange, IssuedKey), ServiceError> {
    let now = audit.at;
    ensure_active(&record, audit)?;
    ensure_not_rotating(&record, replaces, audit)?;
    ensure_can_grant(&record, audit)?;
    ensure_not_outliving_caller(&record, audit)?;
    let old_expires_at = record.key.expires_at.map_or(now + grace, |expiry| expiry.min(now + grace));
    for old in record.secrets.iter_mut().filter(|old| old.is_live(now)) {
        old.expires_at = Some(old.expires_at.map_or(old_expires_at, |expiry| expiry.min(old_expires_at)));
    }
    record.key.start.clone_from(&stored.start);
    record.key.last4.clone_from(&stored.last4);
    record.key.updated_at = now;
    record.key.revision += 1;
    record.secrets.insert(0, stored);
    let changes =
        json!({ "start": record.key.start, "last4": record.key.last4, "old_secret_expires_at": old_expires_at });
    let event = audit.event(Action::Rotated, &record.key, changes);
    let issued = IssuedKey { key: record.key.clone(), secret, replayed: false };
    Ok((KeyChange::new(record, event), issued))
}

fn ensure_active(record: &KeyRecord, audit: &AuditContext<'_>) -> Result<(), ServiceError> {
    if record.key.status(audit.at) == KeyStatus::Active {
        return Ok(());
    }
    Err(ServiceError::conflict(
        "key-not-active",
        "Only an active key can be rotated; this one is revoked, disabled or expired.",
    ))
}

/// A rotation during a grace period would leave three secrets, or end the promised grace early.
fn ensure_not_rotating(
    record: &KeyRecord,
    replaces: Option<Uuid>,
    audit: &AuditContext<'_>,
) -> Result<(), ServiceError> {
    let current = record.secrets.first().map(|current| current.id);
    if record.live_secrets(audit.at).count() <= 1 && current == replaces {
        return Ok(());
    }
    Err(ServiceError::conflict(
        "rotation-in-progress",
        "The key is being rotated: another request was first, or the old secret still lives; wait until the grace is over.",
    ))
}

/// The caller receives a secret with the key's scopes, so it must be able to grant them.
fn ensure_can_grant(record: &KeyRecord, audit: &AuditContext<'_>) -> Result<(), ServiceError> {
    match record.key.scopes.iter().find(|scope| !audit.caller.can_grant(scope)) {
        Some(scope) => Err(ServiceError::MissingScope(scope.as_str().to_owned())),
        None => Ok(()),
    }
}

fn ensure_not_outliving_caller(record: &KeyRecord, audit: &AuditContext<'_>) -> Result<(), ServiceError> {
    match audit.caller.credential {
        Credential::Key { expires_at: Some(limit), .. }
            if record.key.expires_at.is_none_or(|expiry| expiry > limit) =>
        {
            Err(ServiceError::conflict(
                "key-outlives-caller",
                "The key lives longer than the key that makes this request, which cannot have its secret.",
            ))
        }
        _ => Ok(()),
    }
}
