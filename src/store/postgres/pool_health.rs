//! Pool health: whether pooled connections must be checked before they are used again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Records that work was abandoned lately. Its connection may be broken, or may still have a response in transit.
pub struct PoolHealth {
    start: Instant,
    /// In milliseconds since `start`.
    suspect_until: AtomicU64,
}

/// Makes the pool suspect when it is dropped, unless [`AbandonGuard::disarm`] was called.
pub struct AbandonGuard<'a>(&'a PoolHealth);

impl Default for PoolHealth {
    fn default() -> Self {
        Self { start: Instant::now(), suspect_until: AtomicU64::new(0) }
    }
}

impl PoolHealth {
    const SUSPECT_FOR: Duration = Duration::from_secs(10);

    pub fn guard(&self) -> AbandonGuard<'_> {
        AbandonGuard(self)
    }

    pub fn is_suspect(&self) -> bool {
        self.start.elapsed() < Duration::from_millis(self.suspect_until.load(Ordering::Acquire))
    }
}

impl AbandonGuard<'_> {
    pub fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for AbandonGuard<'_> {
    fn drop(&mut self) {
        let until = (self.0.start.elapsed() + PoolHealth::SUSPECT_FOR).as_millis();
        self.0.suspect_until.fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}
