//! Clock: the source of the current time, passed in so that tests can control it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SubsecRound, Utc};

/// The system's clock, or a fixed one.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    #[default]
    System,
    /// Microseconds since the epoch, set by the test that shares them.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The current time, truncated to microseconds: the precision of both databases, so that a time that is read equals
    /// the one that was written.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now().trunc_subsecs(6),
            Self::Fixed(micros) => DateTime::from_timestamp_micros(micros.load(Ordering::SeqCst))
                .expect("a fixed clock holds a representable time"),
        }
    }
}
