//! Delete: revokes a key and hides it from its owner. The row stays, for administrators and the audit.

use serde_json::json;
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::KeyRecord;
use crate::domain::audit::{Action, AuditContext};
use crate::domain::authority::{KeyAction, authorize};
use crate::domain::precondition::Precondition;
use crate::service::errors::ServiceError;
use crate::service::keys::KeyService;
use crate::service::keys::revoke::{RevocationRequest, RevokedKey, revoke};
use crate::store::KeyChange;

impl KeyService {
    /// Deletes a key that meets the precondition. Deleting again changes nothing. Descendants are revoked as by
    /// [`KeyService::revoke`]; they stay visible to their owner.
    pub async fn delete(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        descendants: Option<bool>,
        precondition: &Precondition,
    ) -> Result<RevokedKey, ServiceError> {
        authorize(audit.caller, KeyAction::Delete)?;
        let request = RevocationRequest { reason: None, descendants };
        self.change_tree(audit, access, id, request, precondition, |record| delete(record, audit)).await
    }
}

pub(super) fn delete(mut record: KeyRecord, audit: &AuditContext<'_>) -> KeyChange {
    let revoked = revoke(&mut record.key, None, audit);
    let deleted = record.key.deleted_at.is_none().then(|| audit.event(Action::Deleted, &record.key, json!({})));
    if deleted.is_some() {
        record.key.deleted_at = Some(audit.at);
        record.key.updated_at = audit.at;
        record.key.revision += i64::from(revoked.is_none());
    }
    KeyChange::with_events(record, revoked.into_iter().chain(deleted))
}
