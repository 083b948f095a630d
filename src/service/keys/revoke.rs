//! Revoke: makes a key permanently unusable.

use serde_json::json;
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyRecord, Revocation};
use crate::domain::audit::{Action, AuditContext, AuditEvent};
use crate::domain::authority::{KeyAction, authorize};
use crate::domain::precondition::Precondition;
use crate::service::errors::ServiceError;
use crate::service::keys::{KeyService, or_not_found};
use crate::service::verify::cached_key::CachedKey;
use crate::store::{ChangedTree, KeyChange};

/// A revocation as requested.
#[derive(Debug, Clone, Default)]
pub struct RevocationRequest {
    pub reason: Option<String>,
    /// Whether to revoke the key's descendants, too: the keys that it created, those that they created, and so on. The
    /// deployment decides if `None`.
    pub descendants: Option<bool>,
}

/// The reason of a revocation by OAuth 2.0.
const PRESENTED: &str = "by token revocation (RFC 7009)";

/// A key that was revoked or deleted.
pub struct RevokedKey {
    pub record: KeyRecord,
    /// The number of its descendants that were revoked with it. `None` if they were not to be.
    pub revoked_descendants: Option<u64>,
}

impl KeyService {
    /// Revokes a key that meets the precondition. Revoking again changes nothing: the first revocation and its reason stay.
    pub async fn revoke(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        request: RevocationRequest,
        precondition: &Precondition,
    ) -> Result<RevokedKey, ServiceError> {
        authorize(audit.caller, KeyAction::Revoke)?;
        let reason = request.reason.clone();
        let apply = |record| revoke_record(record, reason, audit);
        self.change_tree(audit, access, id, request, precondition, apply).await
    }

    /// Revokes the key of a secret that was presented as proof. Knowing the secret suffices, as it does for the key itself:
    /// a further right would protect nothing. Disabled and expired keys are revoked, too, so that they cannot come back.
    /// Without effect if the presented secret has ended and cannot come back.
    pub async fn revoke_presented(&self, audit: &AuditContext<'_>, key: &CachedKey) -> Result<(), ServiceError> {
        if key.has_ended(audit.at) {
            return Ok(());
        }
        let request = RevocationRequest { reason: Some(PRESENTED.to_owned()), descendants: None };
        match self.revoke(audit, AccessFilter::Owner(&key.owner), key.id, request, &Precondition::default()).await {
            // Deleted, which ends a key, too.
            Ok(_) | Err(ServiceError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Applies a revocation or deletion to a key, and revokes its descendants in the same transaction if the request or
    /// the deployment says so. The descendants of a key that was revoked before are revoked, too.
    pub(super) async fn change_tree(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        request: RevocationRequest,
        precondition: &Precondition,
        apply: impl FnOnce(KeyRecord) -> KeyChange,
    ) -> Result<RevokedKey, ServiceError> {
        if !self.revokes_descendants(&request) {
            let record = self.change_key(access, id, None, precondition, |record| Ok(apply(record))).await?;
            return Ok(RevokedKey { record, revoked_descendants: None });
        }
        let apply = |record| {
            let record = or_not_found(record)?;
            precondition.check(&record.key)?;
            Ok(apply(record))
        };
        let changes = json!({ "reason": request.reason, "descendant_of": id });
        let revocation = revocation(request.reason, audit);
        let event = |key: &ApiKey| audit.event(Action::Revoked, key, changes.clone());
        let changed = self.store.change_tree::<ServiceError>(access, id, apply, &revocation, event).await?;
        let ChangedTree { root, revoked } = changed?;
        std::iter::once(&root).chain(&revoked).for_each(|record| self.invalidate_secrets(record));
        Ok(RevokedKey { record: root, revoked_descendants: Some(revoked.len() as u64) })
    }

    fn revokes_descendants(&self, request: &RevocationRequest) -> bool {
        request.descendants.unwrap_or(self.revoke_descendants)
    }
}

fn revocation(reason: Option<String>, audit: &AuditContext<'_>) -> Revocation {
    Revocation { at: audit.at, by: audit.caller.owner.subject.clone(), reason }
}

/// Revokes the key. Without effect if it was revoked before.
pub(super) fn revoke_record(mut record: KeyRecord, reason: Option<String>, audit: &AuditContext<'_>) -> KeyChange {
    let event = revoke(&mut record.key, reason, audit);
    KeyChange::with_events(record, event)
}

/// Revokes the key, and returns the event unless it was revoked before.
pub(super) fn revoke(key: &mut ApiKey, reason: Option<String>, audit: &AuditContext<'_>) -> Option<AuditEvent> {
    if key.revocation.is_some() {
        return None;
    }
    let event = audit.event(Action::Revoked, key, json!({ "reason": reason }));
    key.revocation = Some(revocation(reason, audit));
    key.updated_at = audit.at;
    key.revision += 1;
    Some(event)
}
