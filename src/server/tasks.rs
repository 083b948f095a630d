//! Tasks: what the server does beside answering requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::service::Service;
use crate::store::StoreError;

/// How often another process's changes are looked for, so that they are seen within a second.
const LOOK: Duration = Duration::from_millis(500);
/// How often what is due of the counts of use is written.
const WRITE: Duration = Duration::from_secs(2);
/// How often remembered answers that nobody may ask for any more are forgotten.
const FORGET: Duration = Duration::from_secs(3600);

pub struct Tasks {
    /// Those that can be ended anywhere.
    lookouts: JoinSet<()>,
    /// Ends between two writes: what was taken to be written must not be lost.
    writer: JoinHandle<()>,
    stop: Arc<Notify>,
}

pub fn start(service: &Arc<Service>) -> Tasks {
    let mut lookouts = JoinSet::new();
    lookouts.spawn(notice_other_processes(service.clone()));
    lookouts.spawn(forget_answers(service.clone()));
    for issuer in service.issuers.iter() {
        lookouts.spawn(issuer.keys.clone().keep_fresh());
    }
    let stop = Arc::new(Notify::new());
    Tasks { lookouts, writer: tokio::spawn(write_usage(service.clone(), stop.clone())), stop }
}

impl Tasks {
    pub async fn end(mut self) {
        self.lookouts.abort_all();
        self.stop.notify_one();
        // A panic was logged where it happened.
        let _ = self.writer.await;
    }
}

/// The command line, or an operator with a database shell, changes keys behind this process's back. What changed is not
/// told, only that something did: everything in memory is read again.
async fn notice_other_processes(service: Arc<Service>) {
    let mut seen = None;
    let mut tick = ticks(LOOK);
    loop {
        tick.tick().await;
        match service.store.version_of_others().await {
            Ok(version) if seen.replace(version) != Some(version) => service.cache.changed_somewhere(),
            Ok(_) => {}
            Err(error) => {
                // A database that is another one now says nothing of the keys in memory.
                if matches!(error, StoreError::Refused(_)) {
                    service.cache.changed_somewhere();
                }
                // Until it can be asked again, nothing in memory can be trusted to be the latest.
                warn!(%error, "the store does not say whether another process changed it");
                seen = None;
            }
        }
    }
}

async fn write_usage(service: Arc<Service>, stop: Arc<Notify>) {
    let mut tick = ticks(WRITE);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.notified() => return,
        }
        if let Err(error) = service.write_usage(false).await {
            warn!(%error, "counts of use wait to be written");
        }
    }
}

async fn forget_answers(service: Arc<Service>) {
    let mut tick = ticks(FORGET);
    loop {
        tick.tick().await;
        if let Err(error) = service.store.forget_answers(service.clock.now()).await {
            warn!(%error, "answers past their time wait to be forgotten");
        }
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
