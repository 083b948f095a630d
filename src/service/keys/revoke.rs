//! Revoke: the end of a key, for good. Deleting is revoking and being gone for the owner.

use serde_json::json;
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyRecord, Revocation};
use crate::domain::audit::{Action, AuditContext, AuditEvent};
use crate::service::keys::present;
use crate::service::{Service, ServiceError};
use crate::store::{KeyChange, KeyFilter};

pub struct BulkRevocation {
    /// Keys that the filter matches and that were not revoked before.
    pub matched: u64,
    pub revoked: u64,
}

impl Service {
    /// Revoking again changes nothing: who was first, and why, stays.
    pub async fn revoke_key(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        reason: Option<String>,
    ) -> Result<KeyRecord, ServiceError> {
        let apply = |record| {
            let mut record = present(record)?;
            let event = revoke(audit, &mut record.key, reason);
            Ok(KeyChange::with_events(record, event))
        };
        self.change_key(access, id, apply).await
    }

    pub async fn delete_key(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
    ) -> Result<(), ServiceError> {
        let apply = |record| {
            let mut record = present(record)?;
            let revoked = revoke(audit, &mut record.key, None);
            let deleted = record.key.deleted_at.is_none().then(|| audit.event(Action::Deleted, &record.key, json!({})));
            record.key.deleted_at = record.key.deleted_at.or(Some(audit.at));
            Ok(KeyChange::with_events(record, revoked.into_iter().chain(deleted)))
        };
        self.change_key(access, id, apply).await.map(drop)
    }

    /// Every key that the filter matches, a page a transaction, so that other writers are let in between.
    pub async fn revoke_keys(
        &self,
        audit: &AuditContext<'_>,
        filter: &KeyFilter,
        reason: Option<String>,
        dry_run: bool,
    ) -> Result<BulkRevocation, ServiceError> {
        const PAGE: u64 = 50;
        let mut done = BulkRevocation { matched: 0, revoked: 0 };
        let mut after = None;
        loop {
            let page = self.store.list_keys(AccessFilter::Any, filter, after, PAGE, audit.at).await?;
            let ids: Vec<_> = page.iter().filter(|key| key.revocation.is_none()).map(|key| key.id).collect();
            done.matched += ids.len() as u64;
            if !dry_run {
                let apply = |mut record: KeyRecord| {
                    let event = revoke(audit, &mut record.key, reason.clone());
                    KeyChange::with_events(record, event)
                };
                let revoked = self.store.change_keys(&ids, apply).await?;
                revoked.iter().for_each(|record| self.forget(record));
                done.revoked += revoked.len() as u64;
            }
            after = page.last().map(|key| key.id);
            if (page.len() as u64) < PAGE {
                return Ok(done);
            }
        }
    }
}

fn revoke(audit: &AuditContext<'_>, key: &mut ApiKey, reason: Option<String>) -> Option<AuditEvent> {
    if key.revocation.is_some() {
        return None;
    }
    let event = audit.event(Action::Revoked, key, json!({ "reason": reason }));
    key.revocation = Some(Revocation { at: audit.at, by: audit.caller.owner.subject.clone(), reason });
    key.updated_at = audit.at;
    key.revision += 1;
    Some(event)
}
