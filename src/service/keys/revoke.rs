//! Revoke: makes a key permanently unusable.

use serde_json::json;
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyRecord, Revocation};
use crate::domain::audit::{Action, AuditContext, AuditEvent};
use crate::domain::authority::{KeyAction, authorize};
use crate::domain::precondition::Precondition;
use crate::service::errors::ServiceError;
use crate::service::keys::KeyService;
use crate::store::KeyChange;

impl KeyService {
    /// Revokes a key that meets the precondition. Revoking again changes nothing: the first revocation and its reason stay.
    pub async fn revoke(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        reason: Option<String>,
        precondition: &Precondition,
    ) -> Result<KeyRecord, ServiceError> {
        authorize(audit.caller, KeyAction::Revoke)?;
        let apply = |mut record: KeyRecord| {
            let event = revoke(&mut record.key, reason, audit);
            Ok(KeyChange::with_events(record, event))
        };
        self.change_key(access, id, precondition, apply).await
    }
}

/// Revokes the key, and returns the event unless it was revoked before.
pub(super) fn revoke(key: &mut ApiKey, reason: Option<String>, audit: &AuditContext<'_>) -> Option<AuditEvent> {
    if key.revocation.is_some() {
        return None;
    }
    let event = audit.event(Action::Revoked, key, json!({ "reason": reason }));
    key.revocation = Some(Revocation { at: audit.at, by: audit.caller.owner.subject.clone(), reason });
    key.updated_at = audit.at;
    key.revision += 1;
    Some(event)
}
