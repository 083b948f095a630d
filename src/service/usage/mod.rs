//! Usage: when secrets were last used, and how often keys were verified, by day and verdict.
//!
//! A verification is counted in memory ([`counter`], [`recorder`]) and written asynchronously ([`writer`]): the first one
//! within a few seconds, then at most once a minute per key, and the rest at shutdown. A crash loses the counts that are
//! not written yet, at most a minute of them.

pub mod counter;
pub mod recorder;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::NaiveDate;
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::clock::Clock;
use crate::domain::verdict::Verdict;
use crate::service::errors::ServiceError;
use crate::service::usage::recorder::UsageRecorder;
use crate::store::Store;

/// Writes counts of verifications to the store and reads them back.
pub struct UsageService {
    recorder: Arc<UsageRecorder>,
    store: Store,
    clock: Clock,
    written_batches: AtomicU64,
    failed_batches: AtomicU64,
}

/// The verifications of one key on one day.
#[derive(Debug, Clone)]
pub struct DailyUsage {
    /// In UTC.
    pub day: NaiveDate,
    /// Counts by verdict; verdicts without a count are left out.
    pub counts: Vec<(Verdict, u64)>,
}

/// Counters for monitoring, since the start.
pub struct UsageStats {
    /// Decisions by verdict.
    pub verdicts: [(Verdict, u64); Verdict::ALL.len()],
    /// Batches of counts that were written.
    pub written_batches: u64,
    /// Batches that could not be written and were put back.
    pub failed_batches: u64,
    /// Counts of secrets that wait to be written now.
    pub pending: usize,
}

impl UsageService {
    pub(super) fn new(recorder: Arc<UsageRecorder>, store: Store, clock: Clock) -> Self {
        let (written_batches, failed_batches) = Default::default();
        Self { recorder, store, clock, written_batches, failed_batches }
    }

    /// Returns the days from `from` to `to`, both included, on which the key was verified, oldest first.
    pub async fn daily(
        &self,
        access: AccessFilter<'_>,
        id: Uuid,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<DailyUsage>, ServiceError> {
        self.store.find_key(access, id).await?.ok_or(ServiceError::NotFound)?;
        let mut days: Vec<DailyUsage> = Vec::new();
        for (day, verdict, count) in self.store.list_usage(id, from, to).await? {
            match days.last_mut().filter(|last| last.day == day) {
                Some(last) => last.counts.push((verdict, count)),
                None => days.push(DailyUsage { day, counts: vec![(verdict, count)] }),
            }
        }
        Ok(days)
    }

    /// Counters for monitoring.
    pub fn stats(&self) -> UsageStats {
        UsageStats {
            verdicts: self.recorder.verdicts(),
            written_batches: self.written_batches.load(Ordering::Relaxed),
            failed_batches: self.failed_batches.load(Ordering::Relaxed),
            pending: self.recorder.pending(),
        }
    }
}
