//! Usage: when secrets were last used, and how often keys were verified, by day and verdict.
//!
//! A verification is counted in memory ([`counter`], [`recorder`]) and written asynchronously ([`writer`]): the first one
//! within a few seconds, then at most once a minute per key, and the rest at shutdown. A crash loses the counts that are
//! not written yet, at most a minute of them. A count belongs to the day of the verification, whenever it is written.

pub mod counter;
pub mod recorder;
mod unwritten;
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
    /// The bytes that unwritten counts may occupy.
    bytes_limit: usize,
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
    pub(super) fn new(recorder: Arc<UsageRecorder>, store: Store, clock: Clock, bytes_limit: usize) -> Self {
        let (written_batches, failed_batches) = Default::default();
        Self { recorder, store, clock, bytes_limit, written_batches, failed_batches }
    }

    /// Waits until there is so much unwritten usage that [`flush_due`](Self::flush_due) must free memory.
    pub async fn full(&self) {
        self.recorder.full().await;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use chrono::DateTime;

    use super::*;
    use crate::domain::metadata::Metadata;
    use crate::service::verify::cached_key::CachedKey;
    use crate::service::verify::cached_key::tests::cached_key;
    use crate::store::UsageDelta;

    fn key() -> Arc<CachedKey> {
        Arc::new(cached_key(Metadata::default(), None, None))
    }

    fn at(seconds: i64) -> DateTime<chrono::Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// The counts by day, sorted.
    fn days(deltas: &[UsageDelta]) -> Vec<(NaiveDate, Verdict, u64)> {
        let mut days: Vec<_> = deltas.iter().flat_map(|delta| delta.counts.iter().copied()).collect();
        days.sort_by_key(|(day, verdict, _)| (*day, verdict.as_str()));
        days
    }

    /// 101 verifications before midnight, one after, and one write after both.
    #[tokio::test]
    async fn usage_before_midnight_is_written_under_its_day() {
        const MIDNIGHT: i64 = 20_000 * 86_400;
        let micros = Arc::new(AtomicI64::new((MIDNIGHT - 1) * 1_000_000));
        let (clock, recorder) = (Clock::Fixed(micros.clone()), Arc::new(UsageRecorder::new(1 << 20)));
        let key = key();
        for _ in 0..101 {
            recorder.count(&key, Verdict::Valid, clock.now());
        }
        micros.store((MIDNIGHT + 1) * 1_000_000, Ordering::SeqCst);
        recorder.count(&key, Verdict::Valid, clock.now());
        recorder.count(&key, Verdict::InsufficientScope, clock.now());
        let (before, after) = (at(MIDNIGHT - 1).date_naive(), at(MIDNIGHT).date_naive());
        let deltas = recorder.take_all(clock.now());
        let counts =
            [(before, Verdict::Valid, 101), (after, Verdict::InsufficientScope, 1), (after, Verdict::Valid, 1)];
        assert_eq!(days(&deltas), counts);
        assert_eq!(deltas[0].used_at, Some(at(MIDNIGHT + 1)));

        recorder.put_back(deltas);
        recorder.count(&key, Verdict::Valid, clock.now());
        let again = days(&recorder.take_all(clock.now()));
        assert_eq!(again.iter().map(|(_, _, count)| count).sum::<u64>(), 104, "a failed write loses nothing");
        assert_eq!(recorder.pending(), 0);
    }

    #[test]
    fn usage_before_midnight_without_a_use_after_it_is_written_under_its_day() {
        let (recorder, key) = (UsageRecorder::new(1 << 20), key());
        recorder.count(&key, Verdict::Valid, at(86_399));
        let deltas = recorder.take_due(at(86_401), 10);
        assert_eq!(days(&deltas), [(at(0).date_naive(), Verdict::Valid, 1)]);
    }

    #[test]
    fn take_due_frees_keys_that_are_not_cached_and_keeps_their_counts_for_a_minute() {
        let (recorder, cached, evicted) = (UsageRecorder::new(1 << 20), key(), key());
        let weak = Arc::downgrade(&evicted);
        for key in [&cached, &evicted] {
            recorder.count(key, Verdict::Valid, at(1000));
        }
        assert_eq!(recorder.take_due(at(1000), 10).len(), 2, "first uses are written at once");
        for key in [&cached, &evicted] {
            recorder.count(key, Verdict::Valid, at(1010));
        }
        drop(evicted);
        assert!(recorder.take_due(at(1020), 10).is_empty());
        assert!(weak.upgrade().is_none() && recorder.pending() == 2);
        assert_eq!(recorder.take_due(at(1061), 10).len(), 2);
    }

    #[tokio::test]
    async fn full_returns_once_queued_keys_exceed_the_limit() {
        let recorder = UsageRecorder::new(10_000);
        let keys: Vec<_> = (0..100).map(|_| key()).collect();
        recorder.count(&keys[0], Verdict::Valid, at(1000));
        assert!(futures_util::FutureExt::now_or_never(recorder.full()).is_none());
        keys.iter().for_each(|key| recorder.count(key, Verdict::Valid, at(1000)));
        recorder.full().await;
        recorder.take_due(at(1000), 1000);
        recorder.count(&keys[0], Verdict::Valid, at(1001));
        assert!(futures_util::FutureExt::now_or_never(recorder.full()).is_none());
    }
}
