//! Pool state: which pooled connections must be replaced, and what the writer waits for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sea_orm::sqlx::pool::PoolConnectionMetadata;

/// While statements fail, a connection is replaced no more often: each time, the change feed invalidates the cache.
const REPLACE_INTERVAL: Duration = Duration::from_secs(1);

/// What is known of the connections of one pool from those that failed.
pub struct PoolState {
    start: Instant,
    /// When a statement failed at the file or the disk, in microseconds since `start`. A connection that was opened before
    /// may fail for ever: SQLite opens a file that cannot be written for reading, and keeps it so.
    failed_at: AtomicU64,
    opened: AtomicU64,
    /// The last transaction could not begin because another process held the write lock.
    is_locked_out: AtomicBool,
}

impl Default for PoolState {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            failed_at: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            is_locked_out: AtomicBool::new(false),
        }
    }
}

impl PoolState {
    /// Records that a statement failed at the file or the disk.
    pub fn failed(&self) {
        self.failed_at.fetch_max(self.now(), Ordering::AcqRel);
    }

    /// True if the connection was opened after the last failure, or has just been opened.
    pub fn may_be_used(&self, of: &PoolConnectionMetadata) -> bool {
        let failed_at = self.failed_at.load(Ordering::Acquire);
        failed_at == 0 || of.age < REPLACE_INTERVAL || self.now().saturating_sub(to_micros(of.age)) > failed_at
    }

    pub fn connection_opened(&self) {
        self.opened.fetch_add(1, Ordering::AcqRel);
    }

    /// The number of connections that were opened.
    pub fn connections_opened(&self) -> u64 {
        self.opened.load(Ordering::Acquire)
    }

    /// Records whether a transaction could not begin because another process held the write lock.
    pub fn set_locked_out(&self, is_locked_out: bool) {
        self.is_locked_out.store(is_locked_out, Ordering::Release);
    }

    pub fn is_locked_out(&self) -> bool {
        self.is_locked_out.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        to_micros(self.start.elapsed())
    }
}

fn to_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
