//! Freshness: how far what is in memory can be believed.
//!
//! Whoever listens for changes says again and again until when it has heard of all of them; memory is as true as that
//! moment is recent. Later than [`TRUSTED`] after it memory is not believed, and the store is asked each time. When the
//! store cannot be asked, what was read last is still given, no later than the limit after that moment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long after the last moment until which all changes were heard of memory is believed.
const TRUSTED: Duration = Duration::from_secs(3);

pub struct Freshness {
    start: Instant,
    /// Microseconds after the start.
    heard_until: AtomicU64,
    /// In microseconds, between that moment and the news of it.
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

    pub fn heard_until(&self, moment: Instant) {
        self.heard_until.fetch_max(micros(moment.duration_since(self.start)), Ordering::AcqRel);
        self.lag.store(micros(moment.elapsed()), Ordering::Relaxed);
        self.store_answers(true);
    }

    pub fn store_answers(&self, answers: bool) {
        self.store_answers.store(answers, Ordering::Release);
    }

    pub fn is_trusted(&self, now: Instant) -> bool {
        self.staleness(now) < TRUSTED
    }

    /// Whether asking the store is known to be in vain.
    pub fn is_cut_off(&self) -> bool {
        !self.store_answers.load(Ordering::Acquire)
    }

    /// Whether memory may stand in for a store that cannot be asked.
    pub fn may_stand_in(&self, now: Instant) -> bool {
        self.staleness(now) <= self.max_staleness
    }

    /// How long a change took to be heard of when that was last measured; longer, when nothing has been heard since.
    pub fn lag(&self) -> Duration {
        let staleness = self.staleness(Instant::now());
        let measured = Duration::from_micros(self.lag.load(Ordering::Relaxed));
        if staleness < TRUSTED { measured } else { staleness }
    }

    fn staleness(&self, now: Instant) -> Duration {
        let heard_until = Duration::from_micros(self.heard_until.load(Ordering::Acquire));
        now.saturating_duration_since(self.start).saturating_sub(heard_until)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_believed_for_three_seconds_after_the_last_that_was_heard() {
        let freshness = Freshness::new(Duration::from_secs(30));
        let heard = freshness.start + Duration::from_secs(100);
        let after = |seconds: u64| heard + Duration::from_millis(seconds * 1000);
        assert!(!freshness.is_trusted(heard));
        freshness.heard_until(heard);
        assert!(freshness.is_trusted(after(2)) && !freshness.is_trusted(after(3)));
        assert!(freshness.may_stand_in(after(30)) && !freshness.may_stand_in(after(31)));
        freshness.heard_until(freshness.start);
        assert!(freshness.is_trusted(after(2)), "what was heard is not unheard");
    }
}
