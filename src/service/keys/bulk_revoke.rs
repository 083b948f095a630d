//! Bulk revoke: revokes every key that a filter matches.

use crate::domain::access::AccessFilter;
use crate::domain::api_key::KeyRecord;
use crate::domain::audit::AuditContext;
use crate::domain::authority::{KeyAction, authorize};
use crate::service::errors::ServiceError;
use crate::service::keys::KeyService;
use crate::service::keys::revoke::revoke;
use crate::store::{KeyChange, KeyFilter};

/// The effect of a bulk revocation.
pub struct BulkRevocation {
    /// Keys that match the filter and were not revoked before.
    pub matched: u64,
    /// Keys that this call revoked; 0 in a dry run.
    pub revoked: u64,
}

/// Keys per transaction: few, so that other writers get their turn in between.
const REVOKE_BATCH_SIZE: u64 = 50;

impl KeyService {
    /// Revokes all matching keys that `access` admits, batch by batch. After an error the earlier batches stay revoked; repeating the call
    /// revokes the rest.
    pub async fn bulk_revoke(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        filter: &KeyFilter,
        reason: Option<String>,
        dry_run: bool,
    ) -> Result<BulkRevocation, ServiceError> {
        authorize(audit.caller, KeyAction::Revoke)?;
        let mut total = BulkRevocation { matched: 0, revoked: 0 };
        let mut after = None;
        loop {
            let page = self.store.list_keys(access, filter, after, REVOKE_BATCH_SIZE, audit.at).await?;
            let ids: Vec<_> = page.iter().filter(|key| key.revocation.is_none()).map(|key| key.id).collect();
            total.matched += ids.len() as u64;
            if !dry_run {
                let apply = |mut record: KeyRecord| {
                    let event = revoke(&mut record.key, reason.clone(), audit);
                    KeyChange::with_events(record, event)
                };
                let revoked = self.store.change_keys(access, &ids, apply).await?;
                revoked.iter().for_each(|record| self.invalidate_secrets(record));
                total.revoked += revoked.len() as u64;
            }
            after = page.last().map(|key| key.id);
            if (page.len() as u64) < REVOKE_BATCH_SIZE {
                return Ok(total);
            }
        }
    }
}
