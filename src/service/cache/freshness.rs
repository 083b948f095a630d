//! Freshness: whether lookups may use the cache.
//!
//! About twice a second the change feed reports a time up to which it has delivered every change. The age of that time is
//! the staleness of the cache.
//!
//! - Up to [`FRESH_FOR`], or up to the configured maximum if that is less, lookups use entries.
//! - Beyond, each lookup loads from the store. If the store is unreachable, it uses the entry as a fallback.
//! - Beyond the configured maximum, entries are not used at all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds since the cache was created: half the size of an `Instant`, and compared in one instruction.
pub type CacheInstant = u64;

/// Maximum staleness at which lookups use entries without asking the store.
const FRESH_FOR: Duration = Duration::from_secs(3);

/// The state of the change feed and of the store.
pub struct Freshness {
    start: Instant,
    caught_up_to: AtomicU64,
    /// Nanoseconds from that time to its report.
    lag: AtomicU64,
    store_reachable: AtomicBool,
    /// In nanoseconds, like `max_staleness`; never above it.
    fresh_for: u64,
    max_staleness: u64,
}

impl Freshness {
    /// Not fresh until the change feed reports.
    pub fn new(max_staleness: Duration) -> Self {
        Self {
            start: Instant::now(),
            caught_up_to: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            store_reachable: AtomicBool::new(true),
            fresh_for: nanos(FRESH_FOR.min(max_staleness)),
            max_staleness: nanos(max_staleness),
        }
    }

    /// Converts an instant; earlier ones than the cache's creation become 0.
    pub fn instant(&self, at: Instant) -> CacheInstant {
        nanos(at.saturating_duration_since(self.start))
    }

    /// Records that every change committed before this time was delivered.
    pub fn caught_up_to(&self, at: Instant) {
        self.caught_up_to.fetch_max(self.instant(at), Ordering::AcqRel);
        self.lag.store(nanos(at.elapsed()), Ordering::Relaxed);
        self.set_store_reachable(true);
    }

    /// Records whether the store responds.
    pub fn set_store_reachable(&self, reachable: bool) {
        self.store_reachable.store(reachable, Ordering::Release);
    }

    /// True if lookups may use entries at this time.
    pub fn is_fresh(&self, now: CacheInstant) -> bool {
        self.staleness(now) < self.fresh_for
    }

    /// True if the store was unreachable when last tried.
    pub fn store_is_unreachable(&self) -> bool {
        !self.store_reachable.load(Ordering::Acquire)
    }

    /// True if stale entries may be served at this time instead of an error.
    pub fn may_serve_stale(&self, now: CacheInstant) -> bool {
        self.staleness(now) <= self.max_staleness
    }

    /// The time for which stale entries may still be served.
    pub fn stale_time_left(&self, now: CacheInstant) -> Duration {
        Duration::from_nanos(self.max_staleness.saturating_sub(self.staleness(now)))
    }

    /// The delay with which changes were last delivered; once the cache is not fresh, the time since then.
    pub fn lag(&self) -> Duration {
        let now = self.instant(Instant::now());
        let lag = if self.is_fresh(now) { self.lag.load(Ordering::Relaxed) } else { self.staleness(now) };
        Duration::from_nanos(lag)
    }

    /// In nanoseconds.
    fn staleness(&self, now: CacheInstant) -> u64 {
        now.saturating_sub(self.caught_up_to.load(Ordering::Acquire))
    }
}

/// The duration in nanoseconds, saturating.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_fresh_for_three_seconds_after_catching_up() {
        let freshness = Freshness::new(Duration::from_secs(30));
        let reported = freshness.start + Duration::from_secs(100);
        let after = |seconds: u64| freshness.instant(reported + Duration::from_secs(seconds));
        assert!(!freshness.is_fresh(after(0)));
        freshness.caught_up_to(reported);
        assert!(freshness.is_fresh(after(2)) && !freshness.is_fresh(after(3)));
        assert!(freshness.may_serve_stale(after(30)) && !freshness.may_serve_stale(after(31)));
        freshness.caught_up_to(freshness.start);
        assert!(freshness.is_fresh(after(2)), "a late report of an earlier time changes nothing");
    }

    #[test]
    fn is_fresh_no_longer_than_the_maximum_staleness() {
        for (max_staleness, fresh) in [(0, [false; 3]), (1, [true, false, false]), (2, [true, true, false])] {
            let freshness = Freshness::new(Duration::from_secs(max_staleness));
            let after = |seconds: u64| freshness.instant(freshness.start + Duration::from_secs(100 + seconds));
            freshness.caught_up_to(freshness.start + Duration::from_secs(100));
            assert_eq!([0, 1, 2].map(|seconds| freshness.is_fresh(after(seconds))), fresh, "{max_staleness} s");
        }
    }
}
