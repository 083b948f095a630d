//! UsageCounter: the verifications of one cached key that are not written to the store yet.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::verdict::Verdict;

/// The minimum time between two writes of one key's counts.
pub const WRITE_INTERVAL: TimeDelta = TimeDelta::minutes(1);

/// Counts verifications by verdict, and stores the time of the last valid one. Both are atomics, so that a verification
/// takes no lock. The caller queues the key in the recorder when [`add`](Self::add) raises a count from zero;
/// [`drain`](Self::drain) sets the counts to zero again.
#[derive(Default)]
pub struct UsageCounter {
    /// The counts of [`Verdict::Valid`], of [`Verdict::InsufficientScope`], and of all other verdicts together. A cached
    /// key has only one of the others ([`CachedKey::denial_reason`](crate::service::verify::cached_key::CachedKey)).
    counts: [AtomicU32; 3],
    /// Microseconds since the epoch; 0 if not used since the last write.
    used_at: AtomicI64,
    /// Seconds since the epoch.
    written_at: AtomicU32,
}

/// What was drained from a counter.
pub struct DrainedUsage {
    /// Verdicts with their counts, none of which is 0.
    pub counts: Vec<(Verdict, u32)>,
    /// The last successful verification.
    pub used_at: Option<DateTime<Utc>>,
}

impl UsageCounter {
    /// Creates an empty counter. `last_used_at` is the stored time of the last use. It counts as the last write, so that
    /// a key that is evicted from the cache and loaded again is not written more often than others.
    pub fn new(last_used_at: Option<DateTime<Utc>>) -> Self {
        Self { written_at: last_used_at.map_or(0, seconds).into(), ..Self::default() }
    }

    /// Records a successful verification. Call it before [`add`](Self::add), so that whatever drains the count drains its
    /// time, too.
    pub fn record_use(&self, now: DateTime<Utc>) {
        self.used_at.store(now.timestamp_micros(), Ordering::Relaxed);
    }

    /// Adds to a count. Returns true if it was zero before, so that the key must be queued.
    pub fn add(&self, verdict: Verdict, count: u32) -> bool {
        self.count(verdict).fetch_add(count, Ordering::AcqRel) == 0
    }

    /// Moves the counts of another counter of the same secret here.
    pub fn merge_from(&self, other: &Self) {
        for (count, others) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(others.swap(0, Ordering::AcqRel), Ordering::AcqRel);
        }
        self.used_at.fetch_max(other.used_at.swap(0, Ordering::AcqRel), Ordering::AcqRel);
        self.written_at.fetch_max(other.written_at.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// True if the last write is at least [`WRITE_INTERVAL`] ago.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        let written = self.written_at.load(Ordering::Relaxed);
        // A clock that was ahead may have written at a time that is still to come; such a time is ignored.
        !(seconds(now - WRITE_INTERVAL)..=seconds(now)).contains(&written)
    }

    /// Sets the counts to zero and returns them for a write at `now`. The third count is returned under
    /// `denial_reason`. `None` if all counts are zero.
    pub fn drain(&self, denial_reason: Verdict, now: DateTime<Utc>) -> Option<DrainedUsage> {
        self.written_at.store(seconds(now), Ordering::Relaxed);
        let counts: Vec<_> = [Verdict::Valid, Verdict::InsufficientScope, denial_reason]
            .map(|verdict| (verdict, self.count(verdict).swap(0, Ordering::AcqRel)))
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        let used_at = DateTime::from_timestamp_micros(self.used_at.swap(0, Ordering::AcqRel));
        // A use cannot be later than its write, unless the clock was ahead and was set back.
        let used_at = used_at.filter(|time| time.timestamp_micros() > 0).map(|time| time.min(now));
        (!counts.is_empty()).then_some(DrainedUsage { counts, used_at })
    }

    /// Adds drained counts again, because their write failed, and makes the next write due at once. Returns how many
    /// counts rose from zero: the caller queues the key once for each of them.
    pub fn restore(&self, counts: &[(Verdict, u32)], used_at: Option<DateTime<Utc>>) -> usize {
        self.used_at.fetch_max(used_at.map_or(0, |time| time.timestamp_micros()), Ordering::AcqRel);
        self.written_at.store(0, Ordering::Relaxed);
        counts.iter().filter(|(verdict, count)| self.add(*verdict, *count)).count()
    }

    fn count(&self, verdict: Verdict) -> &AtomicU32 {
        match verdict {
            Verdict::Valid => &self.counts[0],
            Verdict::InsufficientScope => &self.counts[1],
            Verdict::Revoked | Verdict::Disabled | Verdict::Expired | Verdict::NotFound => &self.counts[2],
        }
    }
}

fn seconds(time: DateTime<Utc>) -> u32 {
    u32::try_from(time.timestamp()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn drain_takes_each_count_once_and_restore_puts_it_back() {
        let counter = UsageCounter::new(None);
        counter.record_use(at(100));
        assert!(counter.add(Verdict::Valid, 1) && !counter.add(Verdict::Valid, 2));
        assert!(counter.add(Verdict::Revoked, 4));
        let drained = counter.drain(Verdict::Revoked, at(100)).unwrap();
        assert_eq!(drained.counts, [(Verdict::Valid, 3), (Verdict::Revoked, 4)]);
        assert_eq!(drained.used_at, Some(at(100)));
        assert!(counter.drain(Verdict::Revoked, at(100)).is_none());

        assert_eq!(counter.restore(&drained.counts, drained.used_at), 2);
        let again = counter.drain(Verdict::Revoked, at(101)).unwrap();
        assert_eq!((again.counts, again.used_at), (drained.counts, drained.used_at));
    }

    #[test]
    fn drain_returns_no_use_later_than_the_write() {
        let counter = UsageCounter::new(None);
        counter.record_use(at(86_500));
        counter.add(Verdict::Valid, 1);
        assert_eq!(counter.drain(Verdict::Revoked, at(100)).unwrap().used_at, Some(at(100)));
    }

    #[test]
    fn is_due_a_minute_after_the_last_write_or_when_the_clock_was_set_back() {
        let counter = UsageCounter::new(Some(at(1_000)));
        assert!(!counter.is_due(at(1_060)) && counter.is_due(at(1_061)));
        assert!(counter.is_due(at(999)));
        assert!(UsageCounter::new(None).is_due(at(1_000)));
    }

    #[test]
    fn merge_from_moves_the_counts_of_the_other() {
        let (one, other) = (UsageCounter::new(None), UsageCounter::new(Some(at(500))));
        one.add(Verdict::Valid, 1);
        other.add(Verdict::Valid, 2);
        other.record_use(at(7));
        one.merge_from(&other);
        assert!(other.drain(Verdict::Expired, at(8)).is_none() && !one.is_due(at(501)));
        let merged = one.drain(Verdict::Expired, at(8)).unwrap();
        assert_eq!((merged.counts, merged.used_at), (vec![(Verdict::Valid, 3)], Some(at(7))));
    }
}
