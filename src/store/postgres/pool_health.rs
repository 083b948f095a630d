//! Pool health: whether pooled connections have to be checked before they are used again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whether connections may lead nowhere: work was given up lately, and left one with an answer under way or with none to
/// come.
pub struct Doubt {
    start: Instant,
    /// Milliseconds after the start.
    until: AtomicU64,
}

/// Raises the doubt, unless the work came to an end.
pub struct Unfinished<'a>(&'a Doubt);

impl Default for Doubt {
    fn default() -> Self {
        Self { start: Instant::now(), until: AtomicU64::new(0) }
    }
}

impl Doubt {
    const LASTS: Duration = Duration::from_secs(10);

    pub fn of_unfinished_work(&self) -> Unfinished<'_> {
        Unfinished(self)
    }

    pub fn is_there(&self) -> bool {
        self.start.elapsed() < Duration::from_millis(self.until.load(Ordering::Acquire))
    }
}

impl Unfinished<'_> {
    pub fn never_mind(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let until = (self.0.start.elapsed() + Doubt::LASTS).as_millis();
        self.0.until.fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}
