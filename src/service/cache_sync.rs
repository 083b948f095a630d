//! Cache sync: follows the store's change feed and invalidates what other processes change.
//!
//! Other replicas, the command line and operators with a database shell change keys that this process has cached. While
//! the feed is disconnected the cache is not trusted, and each lookup reads the store.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::service::cache::KeyCache;
use crate::service::verify::cached_key::CachedKey;
use crate::store::{ChangeEvent, Store, StoreError};

/// Time between two attempts to connect to the feed.
const RECONNECT_DELAY: Duration = Duration::from_millis(250);

/// Applies the change feed to the cache, reconnecting forever.
pub async fn follow_changes(store: &Store, cache: &KeyCache<CachedKey>) {
    let mut connected = true;
    loop {
        let Err(error) = receive_changes(store, cache, &mut connected).await;
        // The database was replaced by another one, of which the cached keys say nothing.
        if matches!(error, StoreError::Incompatible(_)) {
            cache.invalidate_all();
        }
        cache.freshness.set_store_reachable(store.schema().await.is_ok());
        // Once per outage, not at every attempt.
        if std::mem::replace(&mut connected, false) {
            warn!(%error, "change feed disconnected; falling back to per-request database reads");
        }
        sleep(RECONNECT_DELAY).await;
    }
}

async fn receive_changes(
    store: &Store,
    cache: &KeyCache<CachedKey>,
    connected: &mut bool,
) -> Result<Infallible, StoreError> {
    let mut feed = store.change_feed().await?;
    // Changes committed before the feed was connected were missed.
    cache.invalidate_all();
    loop {
        match feed.next().await? {
            ChangeEvent::Keys(hashes) => hashes.iter().for_each(|hash| cache.invalidate(hash)),
            ChangeEvent::Unknown => cache.invalidate_all(),
            ChangeEvent::CaughtUpTo(instant) => {
                // Not earlier: a feed that was connected may deliver nothing.
                if !std::mem::replace(connected, true) {
                    info!("change feed reconnected");
                }
                cache.freshness.caught_up_to(instant);
            }
        }
    }
}
