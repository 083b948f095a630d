//! Revocation jobs: bulk revocations, each of which is recorded, then carried out batch by batch, and found and canceled
//! by its id. [`runner`] carries them out.

mod count;
mod runner;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::access::AdminAccess;
use crate::domain::audit::AuditContext;
use crate::domain::authority::{KeyAction, authorize};
use crate::domain::clock::Clock;
use crate::domain::id::new_id;
use crate::domain::list_page::ListPage;
use crate::domain::revocation_job::{JobStatus, RevocationFilter, RevocationJob};
use crate::service::cache::KeyCache;
use crate::service::errors::ServiceError;
use crate::service::keys::RevocationRequest;
use crate::service::verify::cached_key::CachedKey;
use crate::store::Store;

pub use crate::service::revocation_jobs::count::KeyCount;

/// The time between two looks at a job whose end is awaited.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Records, runs, reads and cancels bulk revocations.
pub struct RevocationJobs {
    store: Store,
    clock: Clock,
    cache: Arc<KeyCache<CachedKey>>,
    /// Whether a job includes descendants if its request does not say.
    revoke_descendants: bool,
    /// Notified when a job is recorded here.
    recorded: Notify,
    revoked: AtomicU64,
    unfinished: AtomicU64,
}

/// Counts for `/metrics`.
pub struct RevocationJobStats {
    /// Keys that this process has revoked in jobs.
    pub revoked: u64,
    /// Unfinished jobs in the database, when they were last counted.
    pub unfinished: u64,
}

impl RevocationJobs {
    pub(super) fn new(store: Store, clock: Clock, cache: Arc<KeyCache<CachedKey>>, revoke_descendants: bool) -> Self {
        let (recorded, revoked, unfinished) = Default::default();
        Self { store, clock, cache, revoke_descendants, recorded, revoked, unfinished }
    }

    /// Records a job that revokes the matching keys within `reach`, as it is now. When this returns, the job will be
    /// carried out, whatever happens to this process and to the caller.
    pub async fn record(
        &self,
        audit: &AuditContext<'_>,
        reach: AdminAccess<'_>,
        filter: RevocationFilter,
        request: RevocationRequest,
    ) -> Result<RevocationJob, ServiceError> {
        authorize(audit.caller, KeyAction::Revoke)?;
        let (reach_issuer, reach_organization) = match reach {
            AdminAccess::Any => (None, None),
            AdminAccess::Issuer(issuer) => (Some(issuer), None),
            AdminAccess::Organization { issuer, organization } => (Some(issuer), Some(organization)),
        };
        let job = RevocationJob {
            id: new_id(audit.at),
            status: JobStatus::Queued,
            reach_issuer: reach_issuer.map(str::to_owned),
            reach_organization: reach_organization.map(str::to_owned),
            filter,
            reason: request.reason,
            descendants: request.descendants.unwrap_or(self.revoke_descendants),
            origin: audit.origin(),
            actor_organization: audit.caller.owner.organization.clone(),
            unexamined_below: Uuid::max(),
            examined: 0,
            revoked: 0,
            revoked_descendants: 0,
            created_at: audit.at,
            updated_at: audit.at,
            completed_at: None,
        };
        let job = self.store.create_revocation_job(job).await?;
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        self.recorded.notify_one();
        Ok(job)
    }

    /// Returns the job when it is finished, or as it is after this time.
    pub async fn wait_for_end(&self, job: RevocationJob, longest: Duration) -> RevocationJob {
        let (deadline, mut job) = (Instant::now() + longest, job);
        while job.completed_at.is_none() && Instant::now() < deadline {
            tokio::time::sleep(LOOK_INTERVAL).await;
            // The job is recorded, so an error does not matter.
            if let Ok(Some(now)) = self.store.find_revocation_job(job.reach(), job.id).await {
                job = now;
            }
        }
        job
    }

    /// Returns a job that reaches no key beyond `reach`.
    pub async fn get(&self, reach: AdminAccess<'_>, id: Uuid) -> Result<RevocationJob, ServiceError> {
        self.store.find_revocation_job(reach, id).await?.ok_or(ServiceError::NotFound)
    }

    /// Lists such jobs, newest first.
    pub async fn list(
        &self,
        reach: AdminAccess<'_>,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<ListPage<RevocationJob>, ServiceError> {
        let jobs = self.store.list_revocation_jobs(reach, after, limit + 1).await?;
        Ok(ListPage::from_lookahead(jobs, limit, |job| job.id))
    }

    /// Stops such a job after its current batch. What it has revoked stays revoked. A finished job stays as it is.
    pub async fn cancel(
        &self,
        audit: &AuditContext<'_>,
        reach: AdminAccess<'_>,
        id: Uuid,
    ) -> Result<RevocationJob, ServiceError> {
        let job = self.store.end_revocation_job(reach, id, JobStatus::Canceled, audit.at, Some(audit.origin())).await?;
        job.ok_or(ServiceError::NotFound)
    }

    pub fn stats(&self) -> RevocationJobStats {
        RevocationJobStats {
            revoked: self.revoked.load(Ordering::Relaxed),
            unfinished: self.unfinished.load(Ordering::Relaxed),
        }
    }
}
