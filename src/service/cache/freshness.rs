//! Freshness: how far what is in memory can be believed.
//!
//! Whoever listens for changes says again and again until when it has heard of all of them; memory is as true as that
//! moment is recent. Later than [`TRUSTED`] after it memory is not believed, and the store is asked each time. When the
//! store cannot be asked, what was read last is still given, no later than the limit after that moment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds after the cache was made: half of what an `Instant` takes, and compared at once.
pub type Moment = u64;

/// How long after the last moment until which all changes were heard of memory is believed.
const TRUSTED: Duration = Duration::from_secs(3);

pub struct Freshness {
    start: Instant,
    heard_until: AtomicU64,
    /// In nanoseconds, between that moment and the news of it.
    lag: AtomicU64,
    store_answers: AtomicBool,
    max_staleness: Duration,
}

impl Freshness {
    pub fn new(max_staleness: Duration) -> Self {
        Self {
            start: Instant::now(),
            heard_until: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            store_answers: AtomicBool::new(true),
            max_staleness,
        }
    }

    pub fn moment(&self, at: Instant) -> Moment {
        nanos(at.saturating_duration_since(self.start))
    }

    pub fn heard_until(&self, at: Instant) {
        self.heard_until.fetch_max(self.moment(at), Ordering::AcqRel);
        self.lag.store(nanos(at.elapsed()), Ordering::Relaxed);
        self.store_answers(true);
    }

    pub fn store_answers(&self, answers: bool) {
        self.store_answers.store(answers, Ordering::Release);
    }

    pub fn is_trusted(&self, now: Moment) -> bool {
        self.staleness(now) < nanos(TRUSTED)
    }

    /// Whether asking the store is known to be in vain.
    pub fn is_cut_off(&self) -> bool {
        !self.store_answers.load(Ordering::Acquire)
    }

    /// Whether memory may stand in for a store that cannot be asked.
    pub fn may_stand_in(&self, now: Moment) -> bool {
        self.staleness(now) <= nanos(self.max_staleness)
    }

    /// How long a change took to be heard of when that was last measured; longer, when nothing has been heard since.
    pub fn lag(&self) -> Duration {
        let now = self.moment(Instant::now());
        let lag = if self.is_trusted(now) { self.lag.load(Ordering::Relaxed) } else { self.staleness(now) };
        Duration::from_nanos(lag)
    }

    /// In nanoseconds.
    fn staleness(&self, now: Moment) -> u64 {
        now.saturating_sub(self.heard_until.load(Ordering::Acquire))
    }
}

pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_believed_for_three_seconds_after_the_last_that_was_heard() {
        let freshness = Freshness::new(Duration::from_secs(30));
        let heard = freshness.start + Duration::from_secs(100);
        let after = |seconds: u64| freshness.moment(heard + Duration::from_secs(seconds));
        assert!(!freshness.is_trusted(after(0)));
        freshness.heard_until(heard);
        assert!(freshness.is_trusted(after(2)) && !freshness.is_trusted(after(3)));
        assert!(freshness.may_stand_in(after(30)) && !freshness.may_stand_in(after(31)));
        freshness.heard_until(freshness.start);
        assert!(freshness.is_trusted(after(2)), "what was heard is not unheard");
    }
}
