//! UsageRecorder: counts verifications in memory, without waiting for the store.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use crate::domain::verdict::Verdict;
use crate::service::cache::heap_size::HeapSize;
use crate::service::usage::counter::LastWrite;
use crate::service::usage::unwritten::UnwrittenUsage;
use crate::service::verify::cached_key::CachedKey;
use crate::store::UsageDelta;

/// The counts of this process since its start, and what waits to be written.
pub struct UsageRecorder {
    /// The cached keys whose counters are not zero.
    queue: Mutex<KeyQueue>,
    unwritten: Mutex<UnwrittenUsage>,
    /// In the order of [`Verdict::ALL`].
    verdicts: [AtomicU64; Verdict::ALL.len()],
    /// The bytes of queued keys at which [`full`](Self::full) returns.
    bytes_limit: usize,
    full: Notify,
}

#[derive(Default)]
struct KeyQueue {
    /// A key is queued once for each count that left zero.
    keys: Vec<Arc<CachedKey>>,
    /// The bytes of the keys that were queued since the queue was last emptied.
    new_bytes: usize,
}

impl UsageRecorder {
    /// Nothing is counted yet.
    pub fn new(bytes_limit: usize) -> Self {
        let (queue, unwritten, verdicts, full) = Default::default();
        Self { queue, unwritten, verdicts, bytes_limit, full }
    }

    /// Counts a decision about a key: an atomic addition, and a lock only for the first count since the last write.
    pub fn count(&self, key: &Arc<CachedKey>, verdict: Verdict, now: DateTime<Utc>) {
        self.verdicts[verdict as usize].fetch_add(1, Ordering::Relaxed);
        if verdict == Verdict::Valid {
            key.usage.record_use(now);
        }
        let added = key.usage.add(verdict, now);
        if added.was_zero {
            self.enqueue(key.clone());
        }
        if let Some((day, count)) = added.of_other_day {
            let counts = vec![(day, verdict, u64::from(count))];
            let (key_id, secret_id) = (key.id, key.secret_id);
            self.unwritten().add(UsageDelta { key_id, secret_id, counts, used_at: None }, key.usage.written_at());
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

    /// The number of counts that wait to be written, in the queue and out of it.
    pub fn pending(&self) -> usize {
        self.queue().keys.len() + self.unwritten().len()
    }

    /// Waits until the queued keys may hold more memory than is allowed for those that are not cached any more.
    pub async fn full(&self) {
        self.full.notified().await;
    }

    /// Takes out the counts that are due for a write at `now`, or all if they are those of more than `max_unwritten` secrets.
    /// A queued key that is not cached any more is freed; its counts are kept until they are due.
    pub(super) fn take_due(&self, now: DateTime<Utc>, max_unwritten: usize) -> Vec<UsageDelta> {
        let mut keys = mem::take(&mut *self.queue()).keys;
        let later = keys.extract_if(.., |key| !key.usage.written_at().is_due(now) && Arc::strong_count(key) > 1);
        let later: Vec<_> = later.collect();
        self.queue().keys.extend(later);
        self.drain(keys, now);
        self.unwritten().take_due(now, max_unwritten)
    }

    /// Takes out all counts, for a write at `now`.
    pub(super) fn take_all(&self, now: DateTime<Utc>) -> Vec<UsageDelta> {
        let keys = mem::take(&mut *self.queue()).keys;
        self.drain(keys, now);
        self.unwritten().take_due(now, 0)
    }

    /// Keeps counts whose write failed. They are due at once.
    pub(super) fn put_back(&self, deltas: impl IntoIterator<Item = UsageDelta>) {
        let mut unwritten = self.unwritten();
        deltas.into_iter().for_each(|delta| unwritten.add(delta, LastWrite::NEVER));
    }

    fn drain(&self, keys: Vec<Arc<CachedKey>>, now: DateTime<Utc>) {
        for key in keys {
            let Some(drained) = key.usage.drain(key.denial_reason(), now) else { continue };
            let counts = drained.counts.into_iter().map(|(day, verdict, count)| (day, verdict, u64::from(count)));
            let (key_id, secret_id, counts) = (key.id, key.secret_id, counts.collect());
            let delta = UsageDelta { key_id, secret_id, counts, used_at: drained.used_at };
            self.unwritten().add(delta, drained.written_at);
        }
    }

    fn enqueue(&self, key: Arc<CachedKey>) {
        let mut queue = self.queue();
        queue.new_bytes += CachedKey::ALLOCATION + key.heap_size();
        queue.keys.push(key);
        if queue.new_bytes > self.bytes_limit {
            self.full.notify_one();
        }
    }

    fn queue(&self) -> MutexGuard<'_, KeyQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritten(&self) -> MutexGuard<'_, UnwrittenUsage> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
