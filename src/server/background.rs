//! Tasks: what the server does beside answering requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::service::Service;
use crate::store::{ChangeEvent, StoreError};

/// How soon it is tried again to hear of changes.
const RETRY: Duration = Duration::from_millis(250);
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
    lookouts.spawn(follow_changes(service.clone()));
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

/// Keeps what is in memory true: other replicas, the command line, or an operator with a database shell change keys
/// behind this process's back.
async fn follow_changes(service: Arc<Service>) {
    let mut hears = true;
    loop {
        let Err(error) = hear_changes(&service, &mut hears).await;
        // A database that is another one now says nothing of the keys in memory.
        if matches!(error, StoreError::Incompatible(_)) {
            service.cache.changed_somewhere();
        }
        service.cache.store_answers(service.store.schema().await.is_ok());
        // Once an outage, not at every attempt.
        if std::mem::replace(&mut hears, false) {
            warn!(%error, "changes made by other processes are not heard of");
        }
        sleep(RETRY).await;
    }
}

async fn hear_changes(service: &Service, hears: &mut bool) -> Result<Infallible, StoreError> {
    let mut changes = service.store.change_feed().await?;
    if !std::mem::replace(hears, true) {
        info!("changes made by other processes are heard of again");
    }
    // What was changed before was told to nobody.
    service.cache.changed_somewhere();
    loop {
        match changes.next().await? {
            ChangeEvent::Keys(hashes) => hashes.iter().for_each(|hash| service.cache.changed(hash)),
            ChangeEvent::Unknown => service.cache.changed_somewhere(),
            ChangeEvent::CaughtUpTo(moment) => service.cache.heard_until(moment),
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
        if let Err(error) = service.store.delete_expired_responses(service.clock.now()).await {
            warn!(%error, "answers past their time wait to be forgotten");
        }
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
