//! Pool health: whether pooled connections must be checked or replaced before they are used again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sea_orm::sqlx::pool::PoolConnectionMetadata;

/// A pooled connection that was idle for longer is checked before use.
const TRUSTED_WHEN_IDLE: Duration = Duration::from_secs(5);

/// While sessions are read-only, a pooled connection that is older is replaced. Whether a session is read-only is decided
/// when it begins, so only a new one shows that the database takes writes again.
const READ_ONLY_AGE: Duration = Duration::from_secs(1);

/// What is known of the server and its connections from those that failed and those that were opened.
pub struct PoolHealth {
    start: Instant,
    /// A connection was lost: those that were last used before may be lost, too. Like the other time, in microseconds since
    /// `start`.
    lost_at: AtomicU64,
    /// Connections that were opened before have the settings of another time.
    replaced_at: AtomicU64,
    is_read_only: AtomicBool,
    is_standby: AtomicBool,
}

/// What happens with a pooled connection before it is used.
#[derive(Debug, PartialEq, Eq)]
pub enum BeforeUse {
    Nothing,
    Ping,
    Close,
}

impl Default for PoolHealth {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            lost_at: AtomicU64::new(0),
            replaced_at: AtomicU64::new(0),
            is_read_only: AtomicBool::new(false),
            is_standby: AtomicBool::new(false),
        }
    }
}

impl PoolHealth {
    pub fn is_standby(&self) -> bool {
        self.is_standby.load(Ordering::Acquire)
    }

    pub fn is_read_only(&self) -> bool {
        self.is_read_only.load(Ordering::Acquire)
    }

    /// Records that a connection was lost.
    pub fn connection_lost(&self) {
        self.lost_at.fetch_max(self.now(), Ordering::AcqRel);
    }

    /// Records that a session rejected a change because it is read-only.
    pub fn change_rejected(&self) {
        self.is_read_only.store(true, Ordering::Release);
    }

    /// Has a change use a new connection while sessions are read-only.
    pub fn before_change(&self) {
        if self.is_read_only() {
            self.replaced_at.fetch_max(self.now(), Ordering::AcqRel);
        }
    }

    /// Records what a new connection reports of its server.
    pub fn connected(&self, is_standby: bool, is_read_only: bool) {
        self.is_standby.store(is_standby, Ordering::Release);
        if self.is_read_only.swap(is_read_only, Ordering::AcqRel) && !is_read_only {
            self.replaced_at.fetch_max(self.now(), Ordering::AcqRel);
        }
    }

    pub fn before_use(&self, of: &PoolConnectionMetadata) -> BeforeUse {
        let before = |time: &AtomicU64, elapsed: Duration| {
            let time = time.load(Ordering::Acquire);
            time > 0 && self.now().saturating_sub(micros(elapsed)) <= time
        };
        if before(&self.replaced_at, of.age) || self.is_read_only() && of.age > READ_ONLY_AGE {
            return BeforeUse::Close;
        }
        match of.idle_for > TRUSTED_WHEN_IDLE || before(&self.lost_at, of.idle_for) {
            true => BeforeUse::Ping,
            false => BeforeUse::Nothing,
        }
    }

    fn now(&self) -> u64 {
        micros(self.start.elapsed())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
