//! UsageRecorder: counts verifications in memory, without waiting for the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::domain::verdict::Verdict;
use crate::service::verify::cached_key::CachedKey;

/// The counts of this process since its start, and the cached keys whose counts wait to be written.
#[derive(Default)]
pub struct UsageRecorder {
    /// A key is queued once for each count that left zero.
    queue: Mutex<Vec<Arc<CachedKey>>>,
    /// In the order of [`Verdict::ALL`].
    verdicts: [AtomicU64; Verdict::ALL.len()],
}

impl UsageRecorder {
    /// Counts a decision about a key: an atomic addition, and a lock only for the first count since the last write.
    pub fn count(&self, key: &Arc<CachedKey>, verdict: Verdict, now: DateTime<Utc>) {
        self.verdicts[verdict as usize].fetch_add(1, Ordering::Relaxed);
        if verdict == Verdict::Valid {
            key.usage.record_use(now);
        }
        if key.usage.add(verdict, 1) {
            self.enqueue([key.clone()]);
        }
    }

    /// Counts a decision about a string that is not a key.
    pub fn count_not_found(&self) {
        self.verdicts[Verdict::NotFound as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Decisions by verdict since the start.
    pub fn verdicts(&self) -> [(Verdict, u64); Verdict::ALL.len()] {
        Verdict::ALL.map(|verdict| (verdict, self.verdicts[verdict as usize].load(Ordering::Relaxed)))
    }

    /// The number of entries in the queue.
    pub fn pending(&self) -> usize {
        self.queue().len()
    }

    /// Queues keys whose counts must be written.
    pub(super) fn enqueue(&self, keys: impl IntoIterator<Item = Arc<CachedKey>>) {
        self.queue().extend(keys);
    }

    /// Empties the queue.
    pub(super) fn take_queue(&self) -> Vec<Arc<CachedKey>> {
        std::mem::take(&mut *self.queue())
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Vec<Arc<CachedKey>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
