//! Background tasks of the server, besides serving requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::service::Services;
use crate::telemetry;

/// Time between two writes of usage counts.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two deletions of idempotent responses that can no longer be replayed.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(3600);

/// Time between two log lines about spans that were lost.
const LOST_SPANS_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two searches of the caches for what has expired.
const FREE_MEMORY_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two counts of the secrets that depend on each pepper.
const COUNT_INTERVAL: Duration = Duration::from_secs(3600);

/// Time between two attempts to write, for the metric.
const WRITE_PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// The running tasks.
pub struct BackgroundTasks {
    /// Tasks that may be aborted at any point.
    abortable: JoinSet<()>,
    /// Stops between two writes: counts that were drained to be written must not be lost.
    usage_writer: JoinHandle<()>,
    stop_usage_writer: Arc<Notify>,
    /// Stops between two batches.
    revocations: JoinHandle<()>,
    stop_revocations: Arc<Notify>,
}

/// Starts the tasks.
pub fn start_background_tasks(services: &Arc<Services>) -> BackgroundTasks {
    let mut abortable = JoinSet::new();
    let cache_sync = services.clone();
    abortable.spawn(async move { cache_sync.sync_cache().await });
    abortable.spawn(delete_expired_responses(services.clone()));
    abortable.spawn(report_lost_spans());
    abortable.spawn(free_unusable_memory(services.clone()));
    abortable.spawn(count_stored_secrets(services.clone()));
    abortable.spawn(probe_writes(services.clone()));
    for issuer in services.auth.issuers() {
        abortable.spawn(issuer.keys.clone().refresh_loop());
    }
    let stop_usage_writer = Arc::new(Notify::new());
    let usage_writer = tokio::spawn(write_usage(services.clone(), stop_usage_writer.clone()));
    let stop_revocations = Arc::new(Notify::new());
    let revocations = tokio::spawn(run_revocation_jobs(services.clone(), stop_revocations.clone()));
    BackgroundTasks { abortable, usage_writer, stop_usage_writer, revocations, stop_revocations }
}

impl BackgroundTasks {
    /// Stops the tasks.
    pub async fn end(mut self) {
        self.abortable.abort_all();
        self.stop_usage_writer.notify_one();
        self.stop_revocations.notify_one();
        // The panic hook has logged a panic.
        let _ = self.usage_writer.await;
        let _ = self.revocations.await;
    }
}

async fn write_usage(services: Arc<Services>, stop: Arc<Notify>) {
    let mut tick = ticks(FLUSH_INTERVAL);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = services.usage.full() => {}
            () = stop.notified() => return,
        }
        if let Err(error) = services.usage.flush_due().await {
            warn!(%error, "usage flush failed; will retry");
        }
    }
}

async fn run_revocation_jobs(services: Arc<Services>, stop: Arc<Notify>) {
    services.revocation_jobs.run_all(&stop).await;
}

async fn delete_expired_responses(services: Arc<Services>) {
    let mut tick = ticks(CLEANUP_INTERVAL);
    loop {
        tick.tick().await;
        if let Err(error) = services.keys.delete_expired_responses().await {
            warn!(%error, "idempotency cleanup failed; will retry");
        }
    }
}

/// Logs how many spans were lost since the last line.
async fn report_lost_spans() {
    let mut tick = ticks(LOST_SPANS_INTERVAL);
    let mut reported = telemetry::LOST_SPANS.by_reason();
    loop {
        tick.tick().await;
        let lost = telemetry::LOST_SPANS.by_reason();
        for ((reason, total), (_, before)) in lost.into_iter().zip(reported) {
            if total > before {
                warn!(reason, spans = total - before, total, "spans lost; the collector is too slow or unreachable");
            }
        }
        reported = lost;
    }
}

async fn free_unusable_memory(services: Arc<Services>) {
    let mut tick = ticks(FREE_MEMORY_INTERVAL);
    loop {
        tick.tick().await;
        services.free_unusable_memory();
    }
}

async fn count_stored_secrets(services: Arc<Services>) {
    let mut tick = ticks(COUNT_INTERVAL);
    loop {
        tick.tick().await;
        if let Err(error) = services.stored_secrets.refresh().await {
            warn!(%error, "count of stored secrets failed; will retry");
        }
    }
}

async fn probe_writes(services: Arc<Services>) {
    let mut tick = ticks(WRITE_PROBE_INTERVAL);
    loop {
        tick.tick().await;
        // Logs an error itself.
        let _ = services.health.probe_write().await;
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
