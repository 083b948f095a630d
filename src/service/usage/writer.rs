//! Writer: moves counts of usage from memory to the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};

use crate::service::errors::ServiceError;
use crate::service::usage::UsageService;
use crate::service::usage::counter::WRITE_INTERVAL;
use crate::service::verify::cached_key::CachedKey;
use crate::store::UsageDelta;

/// Secrets per transaction.
const USAGE_BATCH_SIZE: usize = 200;

impl UsageService {
    /// Writes the counts of keys that were not written within the last minute. Counts that cannot be written stay in
    /// memory.
    pub async fn flush_due(&self) -> Result<(), ServiceError> {
        let now = self.clock.now();
        let mut keys = self.merged_queue();
        let early: Vec<_> = keys.extract_if(.., |key| !key.usage.is_due(now)).collect();
        self.recorder.enqueue(early);
        self.write(&keys, now).await
    }

    /// Writes all counts: for shutdown.
    pub async fn flush_all(&self) -> Result<(), ServiceError> {
        let keys = self.merged_queue();
        self.write(&keys, self.clock.now()).await
    }

    /// Empties the queue and returns its keys, ordered by the id of the secret so that concurrent writers lock rows in
    /// the same order. Merges the counters of equal secrets: a key that is evicted from the cache and loaded again is a
    /// second object with a counter of its own. Not merged are two objects with different denial reasons, because the
    /// third count of each belongs to its own reason.
    fn merged_queue(&self) -> Vec<Arc<CachedKey>> {
        let mut keys = self.recorder.take_queue();
        keys.sort_by_key(|key| key.secret_id);
        keys.dedup_by(|newer, older| {
            let same = newer.secret_id == older.secret_id && newer.denial_reason() == older.denial_reason();
            if same {
                newer.usage.merge_from(&older.usage);
                std::mem::swap(newer, older);
            }
            same
        });
        keys
    }

    async fn write(&self, keys: &[Arc<CachedKey>], now: DateTime<Utc>) -> Result<(), ServiceError> {
        let mut batches = keys.chunks(USAGE_BATCH_SIZE);
        while let Some(batch) = batches.next() {
            let (keys, deltas): (Vec<_>, Vec<_>) = batch.iter().filter_map(|key| Some((key, drain(key, now)?))).unzip();
            if deltas.is_empty() {
                continue;
            }
            if let Err(error) = self.store.add_usage(&deltas, now + WRITE_INTERVAL).await {
                self.failed_batches.fetch_add(1, Ordering::Relaxed);
                for (key, delta) in keys.into_iter().zip(&deltas) {
                    let times = key.usage.restore(&delta.counts, delta.used_at);
                    self.recorder.enqueue(std::iter::repeat_n(key.clone(), times));
                }
                // The later batches were not drained: their counts are above zero, so nothing else queues them again.
                self.recorder.enqueue(batches.flatten().cloned());
                return Err(error.into());
            }
            self.written_batches.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn drain(key: &CachedKey, now: DateTime<Utc>) -> Option<UsageDelta> {
    let drained = key.usage.drain(key.denial_reason(), now)?;
    Some(UsageDelta {
        key_id: key.id,
        secret_id: key.secret_id,
        day: now.date_naive(),
        counts: drained.counts,
        used_at: drained.used_at,
    })
}
