//! Writer: moves counts of usage from memory to the store.

use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};

use crate::service::errors::ServiceError;
use crate::service::usage::UsageService;
use crate::service::usage::counter::WRITE_INTERVAL;
use crate::service::usage::unwritten::UNWRITTEN_BYTES;
use crate::store::UsageDelta;

/// Secrets per transaction.
const USAGE_BATCH_SIZE: usize = 200;

/// Secrets whose counts may wait although they are not cached, however small the cache is: 16 MiB.
const MIN_UNWRITTEN: usize = (16 << 20) / UNWRITTEN_BYTES;

impl UsageService {
    /// Writes the counts of keys that were not written within the last minute. Counts that cannot be written stay in
    /// memory.
    pub async fn flush_due(&self) -> Result<(), ServiceError> {
        let now = self.clock.now();
        let max_unwritten = (self.bytes_limit / UNWRITTEN_BYTES).max(MIN_UNWRITTEN);
        self.write(self.recorder.take_due(now, max_unwritten), now).await
    }

    /// Writes all counts: for shutdown.
    pub async fn flush_all(&self) -> Result<(), ServiceError> {
        let now = self.clock.now();
        self.write(self.recorder.take_all(now), now).await
    }

    async fn write(&self, deltas: Vec<UsageDelta>, now: DateTime<Utc>) -> Result<(), ServiceError> {
        let mut deltas = deltas.into_iter();
        while deltas.len() > 0 {
            let batch: Vec<_> = deltas.by_ref().take(USAGE_BATCH_SIZE).collect();
            if let Err(error) = self.store.add_usage(&batch, now + WRITE_INTERVAL).await {
                self.failed_batches.fetch_add(1, Ordering::Relaxed);
                self.recorder.put_back(batch.into_iter().chain(deltas));
                return Err(error.into());
            }
            self.written_batches.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
