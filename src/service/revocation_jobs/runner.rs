//! Runner: carries out jobs, batch by batch. The server runs all of them in the background; the command line runs its own.
//!
//! Between two batches it pauses as long as the last one took. So other changes get their turn on SQLite, which has one
//! writer, and a job takes at most half of the capacity for changes.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::domain::access::AdminAccess;
use crate::domain::revocation_job::{JobStatus, RevocationJob};
use crate::service::errors::ServiceError;
use crate::service::revocation_jobs::RevocationJobs;
use crate::store::{BatchLimits, JobBatch, StoreError};

/// The time between two looks for jobs that another process recorded or left unfinished.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);
/// The pause of the command line while another process continues its job.
const BUSY_PAUSE: Duration = Duration::from_millis(200);
/// The longest wait before a failed batch is tried again.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A job fails after as many failures of a batch in a row: about nine minutes of them.
const MAX_FAILURES: u32 = 20;

/// The number of keys of a batch, which follows from the time that batches take.
struct Pace {
    limits: BatchLimits,
}

impl Pace {
    /// In one statement each for the keys and their events.
    const MAX_REVOKED: usize = 500;
    const EXAMINED: std::ops::RangeInclusive<u64> = 50..=10_000;
    /// Other changes wait for a batch, on SQLite each, on PostgreSQL those of the same owners.
    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_millis(200);

    fn new() -> Self {
        Self { limits: BatchLimits { examined: Self::MAX_REVOKED as u64, revoked: Self::MAX_REVOKED } }
    }

    /// Adapts to a batch that took this time. `is_cut` if it ended before it had examined as many keys as it might.
    fn adapt(&mut self, elapsed: Duration, is_cut: bool) {
        let examined = self.limits.examined;
        self.set(match () {
            () if is_cut || elapsed > Self::LONG => examined / 2,
            () if elapsed < Self::SHORT => examined * 2,
            () => examined,
        });
    }

    fn set(&mut self, examined: u64) {
        let examined = examined.clamp(*Self::EXAMINED.start(), *Self::EXAMINED.end());
        let revoked = usize::try_from(examined).unwrap_or(usize::MAX).min(Self::MAX_REVOKED);
        self.limits = BatchLimits { examined, revoked };
    }
}

/// A job whose last batch failed.
struct Failing {
    failures: u32,
    retry_at: Instant,
}

impl RevocationJobs {
    /// Runs the jobs of all processes until it is stopped.
    pub async fn run_all(&self, stop: &Notify) {
        let mut pace = Pace::new();
        let mut failing = HashMap::new();
        let mut known = HashSet::new();
        loop {
            let started = Instant::now();
            let worked = self.run_next(&mut pace, &mut failing, &mut known).await;
            let pause = if worked { started.elapsed() } else { IDLE_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.recorded.notified(), if !worked => {}
                () = stop.notified() => break,
            }
        }
        let unfinished = self.unfinished.load(Ordering::Relaxed);
        if unfinished > 0 {
            info!(jobs = unfinished, "bulk revocation interrupted; the next start continues it");
        }
    }

    /// Runs a batch of the first job that has no failure to wait for, and that no other process is continuing. False if
    /// there is none.
    async fn run_next(&self, pace: &mut Pace, failing: &mut HashMap<Uuid, Failing>, known: &mut HashSet<Uuid>) -> bool {
        let jobs = match self.store.list_unfinished_revocation_jobs().await {
            Ok(jobs) => jobs,
            Err(error) => {
                warn!(%error, "bulk revocations cannot be read; will retry");
                return false;
            }
        };
        self.unfinished.store(jobs.len() as u64, Ordering::Relaxed);
        failing.retain(|id, _| jobs.contains(id));
        known.retain(|id| jobs.contains(id));
        let is_due = |id: &&Uuid| failing.get(id).is_none_or(|job| job.retry_at <= Instant::now());
        for id in jobs.iter().filter(is_due).copied().collect::<Vec<_>>() {
            match self.run_batch(id, pace).await {
                Ok(Some(batch)) => {
                    failing.remove(&id);
                    if known.insert(id) && !batch.first && batch.job.completed_at.is_none() {
                        info!(job = %id, examined = batch.job.examined, "bulk revocation resumed");
                    }
                    // A batch that found its first key locked has done nothing.
                    if batch.examined > 0 || batch.job.completed_at.is_some() {
                        return true;
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    let failures = failing.get(&id).map_or(0, |job| job.failures) + 1;
                    let backoff = Duration::from_secs(1 << failures.min(5)).min(MAX_BACKOFF);
                    warn!(job = %id, failures, %error, "bulk revocation batch failed; will retry");
                    if failures >= MAX_FAILURES {
                        self.give_up(id).await;
                    }
                    failing.insert(id, Failing { failures, retry_at: Instant::now() + backoff });
                }
            }
        }
        false
    }

    async fn give_up(&self, id: Uuid) {
        let now = self.clock.now();
        match self.store.end_revocation_job(AdminAccess::Any, id, JobStatus::Failed, now, None).await {
            Ok(_) => error!(job = %id, "bulk revocation failed; request it again when the cause is removed"),
            Err(error) => warn!(job = %id, %error, "the failure of a bulk revocation cannot be recorded"),
        }
    }

    /// Runs one job until it is finished or `stop` is ready. Calls `report` after each batch, also of other processes.
    pub async fn run_one(
        &self,
        mut job: RevocationJob,
        stop: impl Future<Output = ()>,
        report: impl Fn(&RevocationJob),
    ) -> Result<RevocationJob, ServiceError> {
        let mut pace = Pace::new();
        let mut stop = std::pin::pin!(stop);
        while job.completed_at.is_none() {
            let started = Instant::now();
            let batch = self.run_batch(job.id, &mut pace).await?;
            let pause = if batch.is_some() { started.elapsed() } else { BUSY_PAUSE };
            job = match batch {
                Some(batch) => batch.job,
                None => self.get(AdminAccess::Any, job.id).await?,
            };
            report(&job);
            if job.completed_at.is_none() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = &mut stop => break,
                }
            }
        }
        Ok(job)
    }

    /// Runs a batch of a job. Its revocations are in force when this returns: here, and at other replicas within the time
    /// that every change takes to reach them.
    async fn run_batch(&self, id: Uuid, pace: &mut Pace) -> Result<Option<JobBatch>, StoreError> {
        let started = Instant::now();
        let limits = pace.limits;
        let batch = match self.store.continue_revocation_job(id, limits, self.clock.now()).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(None),
            Err(error) => {
                pace.set(limits.examined / 4);
                return Err(error);
            }
        };
        let hashes = batch.revoked.iter().flat_map(|record| &record.secrets).map(|secret| &secret.hash);
        hashes.for_each(|hash| self.cache.invalidate(hash));
        self.revoked.fetch_add(batch.revoked.len() as u64, Ordering::Relaxed);
        let RevocationJob { examined, revoked, .. } = batch.job;
        if batch.first {
            info!(job = %id, descendants = batch.job.descendants, "bulk revocation started");
        }
        if batch.job.completed_at.is_some() {
            let count_down = |unfinished: u64| unfinished.checked_sub(1);
            let _ = self.unfinished.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count_down);
            info!(job = %id, examined, revoked, "bulk revocation completed");
        } else {
            pace.adapt(started.elapsed(), batch.examined < limits.examined);
        }
        Ok(Some(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_follows_the_time_of_batches_within_bounds() {
        let mut pace = Pace::new();
        let examined = |pace: &Pace| pace.limits.examined;
        for _ in 0..10 {
            pace.adapt(Duration::from_millis(1), false);
        }
        assert_eq!((examined(&pace), pace.limits.revoked), (10_000, 500));
        pace.adapt(Duration::from_millis(100), false);
        assert_eq!(examined(&pace), 10_000);
        pace.adapt(Duration::from_millis(1), true);
        assert_eq!(examined(&pace), 5000);
        for _ in 0..10 {
            pace.adapt(Duration::from_secs(1), false);
        }
        assert_eq!((examined(&pace), pace.limits.revoked), (50, 50));
    }
}
