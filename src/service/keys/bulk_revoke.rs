//! Bulk revoke: revokes every key that a filter matches.

use std::collections::HashSet;

use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyRecord};
use crate::domain::audit::AuditContext;
use crate::domain::authority::{KeyAction, authorize};
use crate::domain::list_page::ListPage;
use crate::domain::precondition::Precondition;
use crate::service::errors::ServiceError;
use crate::service::keys::KeyService;
use crate::service::keys::revoke::{RevocationRequest, revoke_record};
use crate::store::KeyFilter;

/// The effect of a bulk revocation.
#[derive(Debug, Default)]
pub struct BulkRevocation {
    /// Keys that match the filter and were not revoked before.
    pub matched: u64,
    /// Other keys that were not revoked before and descend from a key that matches. 0 if they were not to be included.
    pub descendants: u64,
    /// Keys that this call revoked; 0 in a dry run.
    pub revoked: u64,
}

/// Keys per transaction: few, so that other writers get their turn in between. A key with its descendants has a
/// transaction of its own.
const REVOKE_BATCH_SIZE: u64 = 50;

impl KeyService {
    /// Revokes all matching keys that `access` admits, batch by batch. After an error the earlier batches stay revoked;
    /// repeating the call revokes the rest.
    pub async fn bulk_revoke(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        filter: &KeyFilter,
        request: RevocationRequest,
        dry_run: bool,
    ) -> Result<BulkRevocation, ServiceError> {
        authorize(audit.caller, KeyAction::Revoke)?;
        let with_descendants = self.revokes_descendants(&request);
        let mut total = BulkRevocation::default();
        let (mut matching, mut descendants) = (HashSet::new(), HashSet::new());
        let mut after = None;
        loop {
            let ListPage { items: page, next } =
                self.store.list_keys(access, filter, after, REVOKE_BATCH_SIZE, audit.at).await?;
            let live: Vec<_> = page.iter().filter(|key| key.revocation.is_none()).map(|key| key.id).collect();
            total.matched += live.len() as u64;
            match (dry_run, with_descendants) {
                (true, false) => {}
                (true, true) => {
                    let roots: Vec<_> = page.iter().map(|key| key.id).collect();
                    descendants.extend(self.store.find_live_descendants(&roots).await?);
                    matching.extend(live);
                }
                (false, false) => total.revoked += self.revoke_keys(audit, access, &live, &request).await?,
                (false, true) => total.revoked += self.revoke_trees(audit, access, &page, &request).await?,
            }
            if next.is_none() {
                break;
            }
            after = next;
        }
        total.descendants = match dry_run {
            true => descendants.difference(&matching).count() as u64,
            false => total.revoked.saturating_sub(total.matched),
        };
        Ok(total)
    }

    async fn revoke_keys(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        ids: &[Uuid],
        request: &RevocationRequest,
    ) -> Result<u64, ServiceError> {
        let apply = |record| revoke_record(record, request.reason.clone(), audit);
        let revoked = self.store.change_keys(access, ids, apply).await?;
        revoked.iter().for_each(|record| self.invalidate_secrets(record));
        Ok(revoked.len() as u64)
    }

    /// Revokes keys with their descendants, each tree in a transaction of its own. Also the descendants of a key that was
    /// revoked before.
    async fn revoke_trees(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        roots: &[ApiKey],
        request: &RevocationRequest,
    ) -> Result<u64, ServiceError> {
        let mut revoked = 0;
        for root in roots {
            let mut root_revoked = false;
            let apply = |record: KeyRecord| {
                root_revoked = record.key.revocation.is_none();
                revoke_record(record, request.reason.clone(), audit)
            };
            let request = request.clone();
            let tree = self.change_tree(audit, access, root.id, request, &Precondition::None, apply).await?;
            revoked += u64::from(root_revoked) + tree.revoked_descendants.unwrap_or_default();
        }
        Ok(revoked)
    }
}
