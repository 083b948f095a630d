//! Clock: the source of the current time, passed in so that tests can control it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use chrono::{DateTime, SubsecRound, Utc};
use thiserror::Error;

/// The system's clock, or a fixed one.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    #[default]
    System,
    /// Microseconds since the epoch, set by the test that shares them.
    Fixed(Arc<AtomicI64>),
}

/// The clock shows a time before 1970, which identifiers and certificates cannot express.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the clock of this machine shows {0}, which is before 1970; set it to the current time")]
pub struct ClockNotSet(DateTime<Utc>);

impl Clock {
    /// Checks that the clock was set. Call it before anything that converts the time.
    pub fn ensure_set(&self) -> Result<(), ClockNotSet> {
        let now = self.now();
        if now < DateTime::UNIX_EPOCH { Err(ClockNotSet(now)) } else { Ok(()) }
    }

    /// The current time, truncated to microseconds: the precision of both databases, so that a time that is read equals
    /// the one that was written.
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            // `Utc::now` panics before 1970.
            Self::System => DateTime::<Utc>::from(SystemTime::now()).trunc_subsecs(6),
            Self::Fixed(micros) => DateTime::from_timestamp_micros(micros.load(Ordering::SeqCst))
                .expect("a fixed clock holds a representable time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ensure_set_rejects_a_time_before_1970() {
        let at = |seconds: i64| Clock::Fixed(Arc::new((seconds * 1_000_000).into())).ensure_set();
        let error = at(-1).unwrap_err().to_string();
        assert!(error.contains("1969-12-31 23:59:59 UTC") && error.contains("set it"), "{error}");
        assert!(at(-315_619_200).is_err());
        assert!(at(0).is_ok() && at(1_800_000_000).is_ok());
    }
}
