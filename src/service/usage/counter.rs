//! UsageCounter: the verifications of one cached key that are not written to the store yet.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

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
    counts: [DayCount; 3],
    /// Microseconds since the epoch; 0 if not used since the last write.
    used_at: AtomicI64,
    /// Seconds since the epoch.
    written_at: AtomicU32,
}

/// What [`UsageCounter::add`] did.
pub struct Added {
    /// The count was zero before, so that the key must be queued.
    pub was_zero: bool,
    /// The count of the day before, which has been taken out, with that day.
    pub of_other_day: Option<(NaiveDate, u32)>,
}

/// What was drained from a counter.
pub struct DrainedUsage {
    /// Counts above zero, with their day in UTC.
    pub counts: Vec<(NaiveDate, Verdict, u32)>,
    /// The last successful verification.
    pub used_at: Option<DateTime<Utc>>,
    /// The last write before.
    pub written_at: LastWrite,
}

/// When counts were last written, in seconds since the epoch; 0 if never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LastWrite(u32);

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

    /// Counts one verification at `now`.
    pub fn add(&self, verdict: Verdict, now: DateTime<Utc>) -> Added {
        let slot = match verdict {
            Verdict::Valid => 0,
            Verdict::InsufficientScope => 1,
            Verdict::Revoked | Verdict::Disabled | Verdict::Expired | Verdict::NotFound => 2,
        };
        self.counts[slot].add(now)
    }

    /// When the counts were last written.
    pub fn written_at(&self) -> LastWrite {
        LastWrite(self.written_at.load(Ordering::Relaxed))
    }

    /// Sets the counts to zero and returns them for a write at `now`. The third count is returned under
    /// `denial_reason`. `None` if all counts are zero.
    pub fn drain(&self, denial_reason: Verdict, now: DateTime<Utc>) -> Option<DrainedUsage> {
        let written_at = LastWrite(self.written_at.swap(seconds(now), Ordering::Relaxed));
        let verdicts = [Verdict::Valid, Verdict::InsufficientScope, denial_reason];
        let counts = verdicts.into_iter().zip(&self.counts).map(|(verdict, count)| {
            let (parity, count) = count.drain();
            (parity.day_near(now), verdict, count)
        });
        let counts: Vec<_> = counts.filter(|(_, _, count)| *count > 0).collect();
        let used_at = DateTime::from_timestamp_micros(self.used_at.swap(0, Ordering::AcqRel));
        // A use cannot be later than its write, unless the clock was ahead and was set back.
        let used_at = used_at.filter(|time| time.timestamp_micros() > 0).map(|time| time.min(now));
        (!counts.is_empty()).then_some(DrainedUsage { counts, used_at, written_at })
    }
}

impl LastWrite {
    pub const NEVER: Self = Self(0);

    /// True if the last write is at least [`WRITE_INTERVAL`] ago.
    pub fn is_due(self, now: DateTime<Utc>) -> bool {
        // A clock that was ahead may have written at a time that is still to come; such a time is ignored.
        !(seconds(now - WRITE_INTERVAL)..=seconds(now)).contains(&self.0)
    }
}

/// The count of one day. It is taken out within minutes, so that one bit tells which day it is, and a verification makes
/// one atomic addition.
#[derive(Default)]
struct DayCount(AtomicU32);

/// Whether the number of the day is odd, as the highest bit.
#[derive(Clone, Copy, PartialEq, Eq)]
struct DayParity(u32);

impl DayParity {
    const BIT: u32 = 1 << 31;

    fn of(time: DateTime<Utc>) -> Self {
        const DAY: i64 = 24 * 60 * 60;
        Self(if time.timestamp().div_euclid(DAY) % 2 == 0 { 0 } else { Self::BIT })
    }

    /// Returns the day in UTC of this parity that is nearest. At midnight, verifications and writes that began just before
    /// meet counts of the new day, and those that began just after meet counts of the old one.
    fn day_near(self, time: DateTime<Utc>) -> NaiveDate {
        const HALF_A_DAY: TimeDelta = TimeDelta::hours(12);
        let earlier = time - HALF_A_DAY;
        if Self::of(earlier) == self { earlier.date_naive() } else { (time + HALF_A_DAY).date_naive() }
    }
}

impl DayCount {
    fn add(&self, now: DateTime<Utc>) -> Added {
        let (Self(word), today) = (self, DayParity::of(now));
        if split(word.load(Ordering::Relaxed)).0 == today {
            return Added { was_zero: split(word.fetch_add(1, Ordering::AcqRel)).1 == 0, of_other_day: None };
        }
        match split(word.swap(today.0 | 1, Ordering::AcqRel)) {
            (_, 0) => Added { was_zero: true, of_other_day: None },
            // Another verification was the first of the day.
            (day, count) if day == today => {
                Added { was_zero: split(word.fetch_add(count, Ordering::AcqRel)).1 == 0, of_other_day: None }
            }
            (day, count) => Added { was_zero: false, of_other_day: Some((day.day_near(now), count)) },
        }
    }

    /// Keeps the day: a verification may have read it and be about to add one.
    fn drain(&self) -> (DayParity, u32) {
        split(self.0.fetch_and(DayParity::BIT, Ordering::AcqRel))
    }
}

fn split(word: u32) -> (DayParity, u32) {
    (DayParity(word & DayParity::BIT), word & !DayParity::BIT)
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

    fn day(number: i64) -> NaiveDate {
        at(number * 86_400).date_naive()
    }

    #[test]
    fn drain_takes_each_count_once() {
        let counter = UsageCounter::new(Some(at(50)));
        counter.record_use(at(100));
        assert!(counter.add(Verdict::Valid, at(100)).was_zero);
        assert!(!counter.add(Verdict::Valid, at(100)).was_zero);
        assert!(counter.add(Verdict::Revoked, at(100)).was_zero);
        let drained = counter.drain(Verdict::Revoked, at(100)).unwrap();
        assert_eq!(drained.counts, [(day(0), Verdict::Valid, 2), (day(0), Verdict::Revoked, 1)]);
        assert_eq!((drained.used_at, drained.written_at), (Some(at(100)), LastWrite(50)));
        assert!(counter.drain(Verdict::Revoked, at(100)).is_none());
        assert_eq!(counter.written_at(), LastWrite(100));
    }

    #[test]
    fn add_that_read_the_day_before_a_drain_is_counted_on_it() {
        for number in [1, 2] {
            let count = DayCount::default();
            count.add(at(number * 86_400));
            assert_eq!(count.drain().1, 1);
            // What `add` does once it has read the day.
            count.0.fetch_add(1, Ordering::AcqRel);
            let (parity, added) = count.drain();
            assert_eq!((parity.day_near(at(number * 86_400)), added), (day(number), 1));
        }
    }

    #[test]
    fn add_after_midnight_takes_out_the_count_of_the_day_before() {
        for first in [1, 2] {
            let (before, after) = (at(first * 86_400 - 1), at(first * 86_400));
            let counter = UsageCounter::new(None);
            for _ in 0..101 {
                counter.add(Verdict::Valid, before);
            }
            counter.add(Verdict::Revoked, before);
            let added = counter.add(Verdict::Valid, after);
            assert_eq!((added.was_zero, added.of_other_day), (false, Some((day(first - 1), 101))));
            let again = counter.add(Verdict::Valid, after);
            assert_eq!((again.was_zero, again.of_other_day), (false, None));
            let drained = counter.drain(Verdict::Revoked, after).unwrap();
            assert_eq!(drained.counts, [(day(first), Verdict::Valid, 2), (day(first - 1), Verdict::Revoked, 1)]);
        }
    }

    #[test]
    fn add_just_before_midnight_takes_out_a_count_of_the_new_day() {
        let counter = UsageCounter::new(None);
        counter.add(Verdict::Valid, at(86_400));
        assert_eq!(counter.add(Verdict::Valid, at(86_399)).of_other_day, Some((day(1), 1)));
        counter.add(Verdict::Expired, at(86_400));
        let drained = counter.drain(Verdict::Expired, at(86_399)).unwrap();
        assert_eq!(drained.counts, [(day(0), Verdict::Valid, 1), (day(1), Verdict::Expired, 1)]);
    }

    #[test]
    fn add_by_several_threads_at_midnight_loses_nothing() {
        let counter = UsageCounter::new(None);
        let (before, after) = (at(86_399), at(86_400));
        let add = |at| counter.add(Verdict::Valid, at).of_other_day.map_or(0, |(_, count)| count);
        let add_many = |at| (0..10_000).map(|_| add(at)).sum::<u32>();
        let taken_out = std::thread::scope(|scope| {
            let threads = [before, after, after].map(|at| scope.spawn(move || add_many(at)));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>()
        });
        let rest: u32 = counter.drain(Verdict::Revoked, after).unwrap().counts.iter().map(|(_, _, count)| count).sum();
        assert_eq!(taken_out + rest, 30_000);
    }

    #[test]
    fn drain_returns_no_use_later_than_the_write() {
        let counter = UsageCounter::new(None);
        counter.record_use(at(86_500));
        counter.add(Verdict::Valid, at(100));
        assert_eq!(counter.drain(Verdict::Revoked, at(100)).unwrap().used_at, Some(at(100)));
    }

    #[test]
    fn is_due_a_minute_after_the_last_write_or_when_the_clock_was_set_back() {
        let written_at = UsageCounter::new(Some(at(1_000))).written_at();
        assert!(!written_at.is_due(at(1_060)) && written_at.is_due(at(1_061)));
        assert!(written_at.is_due(at(999)));
        assert!(LastWrite::NEVER.is_due(at(1_000)));
    }
}
