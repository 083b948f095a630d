//! JwksCache: an issuer's public keys as last fetched, and when they are fetched again.
//!
//! They are refreshed in the background before they age out, and in between when a token names a key that is not among
//! them. A failed fetch keeps the current keys: a provider that is down ends no session. A token whose key was not looked
//! up yet is not rejected.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

use crate::domain::excerpt::Excerpt;
use crate::service::issuer::TokenError;
use crate::service::issuer::algorithm::Algorithm;
use crate::service::issuer::discovery::ProviderMetadata;
use crate::service::issuer::jwk::{Key, UnusableKey};
use crate::service::issuer::jwks::shortened;
use crate::service::issuer::jwks_source::{Fetched, JwksSource, MAX_TTL, MIN_TTL};
use crate::service::issuer::jwks_state::JwksState;
use crate::service::issuer::rejection::{TokenFault, TokenRejection};

/// Minimum time between two fetches caused by tokens with an unknown `kid`: anyone can send such a token, and a flood of
/// them must not become a flood of requests to the provider.
const MIN_REFRESH_INTERVAL: TimeDelta = TimeDelta::seconds(30);
/// Time to the next fetch after one that failed.
const RETRY_DELAY: Duration = Duration::from_secs(30);
/// The same while there are no keys yet; doubles up to [`RETRY_DELAY`].
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The keys of one issuer.
pub struct JwksCache {
    issuer: String,
    source: JwksSource,
    /// The algorithms that the issuer may sign by.
    algorithms: Vec<Algorithm>,
    state: watch::Sender<Arc<JwksState>>,
    /// Locked during a fetch, so that there is one at a time; holds the time of the last fetch for an unknown `kid`.
    fetch_lock: Arc<Mutex<Option<DateTime<Utc>>>>,
    /// Number of fetches that have begun: by it a token that waited for the lock knows whether one began after it came.
    fetches: AtomicU64,
}

impl JwksCache {
    /// A cache of the source's keys; empty until the first fetch unless the source is fixed.
    pub fn new(issuer: &str, source: JwksSource, algorithms: Vec<Algorithm>) -> Arc<Self> {
        let state = match &source {
            JwksSource::Fixed(key) => JwksState::fixed(key.clone()),
            JwksSource::File(_) | JwksSource::Provider(_) => JwksState::default(),
        };
        let state = watch::Sender::new(Arc::new(state));
        let (fetch_lock, fetches) = Default::default();
        Arc::new(Self { issuer: issuer.to_owned(), source, algorithms, state, fetch_lock, fetches })
    }

    /// Ok once there are keys to verify tokens with; otherwise the reason why there are none.
    pub fn ready(&self) -> Result<(), String> {
        self.state().ready().map_err(str::to_owned)
    }

    /// The algorithms that the issuer may sign by.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// The provider's metadata, once it was fetched.
    pub fn metadata(&self) -> Option<Arc<ProviderMetadata>> {
        self.state().metadata.clone()
    }

    /// The number of keys.
    pub fn count(&self) -> usize {
        self.state().keys.len()
    }

    /// Time since the last successful fetch; `None` for a fixed key and before the first.
    pub fn age(&self) -> Option<Duration> {
        self.state().fetched.map(|fetched| fetched.elapsed())
    }

    /// Returns the keys that may have signed a token with this `kid`.
    ///
    /// An unknown `kid` may be that of a new key, so it causes a fetch. If that succeeds without finding it, the `kid` is
    /// wrong. If the fetch fails, or is not allowed so soon after another, the token may be valid.
    pub async fn find(self: &Arc<Self>, id: Option<&str>, now: DateTime<Utc>) -> Result<Vec<Arc<Key>>, TokenError> {
        let fetches = self.fetches.load(Ordering::SeqCst);
        let state = self.state();
        let (state, wait) = if state.has_key(id) {
            (state, None)
        } else {
            self.refresh_for_unknown_kid(id, &state, fetches, now).await
        };
        if state.has_key(id) {
            let matching = state.keys.iter().filter(|key| id.is_none_or(|id| key.id() == Some(id)));
            return Ok(matching.cloned().collect());
        }
        let kid = Excerpt::of_text(id);
        let retry_after = wait.unwrap_or(MIN_REFRESH_INTERVAL);
        if let Some(unusable) = state.unusable_key(id) {
            let reason = format!("{} publishes {unusable}", self.issuer);
            return Err(TokenError::KeysUnavailable { reason, retry_after });
        }
        match (&state.outcome, wait) {
            (Err(reason), _) => Err(TokenError::KeysUnavailable {
                reason: format!("no keys of {}: {reason}", self.issuer),
                retry_after,
            }),
            (Ok(()), Some(_)) if !state.is_absent(id) => {
                let reason = format!("kid {kid} is not among the keys of {} as last fetched", self.issuer);
                Err(TokenError::KeyNotFetched { reason, retry_after })
            }
            (Ok(()), _) => {
                let seen = format!("its `kid`, {kid}, is none of the keys that its issuer publishes");
                let published: Vec<_> = state.keys.iter().map(|key| Excerpt::of_text(key.id()).to_string()).collect();
                let cure = format!("{} publishes {}", self.issuer, shortened(&published, 5));
                Err(TokenRejection::new(TokenFault::UnknownKid, seen).with_cure(cure).into())
            }
        }
    }

    /// Fetches the keys without keeping them: for a check of the deployment. Returns those that cannot be used.
    pub async fn probe(&self) -> Result<Vec<UnusableKey>, String> {
        let Fetched { set, .. } = self.source.fetch(None, &self.algorithms).await?;
        set.check()?;
        Ok(set.unusable)
    }

    /// Refreshes the keys forever, each time before they age out.
    pub async fn refresh_loop(self: Arc<Self>) {
        if matches!(self.source, JwksSource::Fixed(_)) {
            return;
        }
        let mut retry_delay = FIRST_RETRY_DELAY;
        loop {
            let lock = self.fetch_lock.lock().await;
            let ttl = self.fetch(None, None).await;
            drop(lock);
            let wait = match ttl {
                // The last fifth is left for fetches that fail.
                Ok(ttl) => ttl.clamp(MIN_TTL, MAX_TTL) * 4 / 5,
                Err(()) if self.state().fetched.is_some() => RETRY_DELAY,
                Err(()) => {
                    let doubled = (retry_delay * 2).min(RETRY_DELAY);
                    std::mem::replace(&mut retry_delay, doubled)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Returns the keys after a fetch that began after the first `seen` ones; or, if the last fetch was too recent, the
    /// keys as they are and the time until the next one may be made.
    async fn refresh_for_unknown_kid(
        self: &Arc<Self>,
        id: Option<&str>,
        before: &Arc<JwksState>,
        seen: u64,
        now: DateTime<Utc>,
    ) -> (Arc<JwksState>, Option<TimeDelta>) {
        if matches!(self.source, JwksSource::Fixed(_)) {
            return (self.state(), None);
        }
        let mut last = self.fetch_lock.clone().lock_owned().await;
        let state = self.state();
        // A fetch that had begun before this token came does not count: the provider may have responded before it
        // published the key.
        let is_judged = self.fetches.load(Ordering::SeqCst) > seen;
        // If it failed, nothing is decided, and another one would probably fail as slowly.
        let has_failed = state.outcome.is_err() && !Arc::ptr_eq(&state, before);
        if state.has_key(id) || is_judged || has_failed {
            return (state, None);
        }
        // A clock that was set back does not prolong the wait.
        let wait = last.map_or(TimeDelta::zero(), |last| MIN_REFRESH_INTERVAL - (now - last).abs());
        if wait > TimeDelta::zero() {
            return (state, Some(wait));
        }
        *last = Some(now);
        let (this, id) = (self.clone(), id.map(str::to_owned));
        // In a task of its own: others wait for it, too, when this request's client has disconnected.
        let fetch = tokio::spawn(async move {
            let metadata = this.metadata();
            let _ = this.fetch(metadata, id).await;
            drop(last);
        });
        let _ = fetch.await;
        (self.state(), None)
    }

    /// Fetches the keys and returns for how long they are fresh. With `metadata` the provider's own is not fetched.
    /// `wanted` is the `kid` for which they are fetched.
    async fn fetch(&self, metadata: Option<Arc<ProviderMetadata>>, wanted: Option<String>) -> Result<Duration, ()> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let fetched = self.source.fetch(metadata, &self.algorithms).await;
        let before = self.state();
        let (state, ttl) = match fetched {
            Ok(Fetched { set, metadata, ttl }) => (before.replaced(set, metadata, wanted), Ok(ttl)),
            Err(reason) => (before.failed(reason), Err(())),
        };
        self.log_change(&before, &state);
        let ttl = ttl.and_then(|ttl| state.ready().map(|()| ttl).map_err(drop));
        self.state.send_replace(Arc::new(state));
        ttl
    }

    /// Logs what a fetch changed.
    fn log_change(&self, before: &JwksState, state: &JwksState) {
        let issuer = &self.issuer;
        if state.unusable != before.unusable {
            state.unusable.iter().for_each(|key| log_unusable(issuer, key));
        }
        match (&state.outcome, state.ready()) {
            (Ok(()), _) if before.outcome.is_ok() && state.keys == before.keys => {}
            (Ok(()), _) => info!(issuer, keys = state.keys.len(), "JWKS refreshed"),
            (Err(reason), Ok(())) => warn!(issuer, reason, "JWKS refresh failed; using cached keys"),
            (Err(reason), Err(_)) => warn!(issuer, reason, "JWKS fetch failed; tokens from this issuer get 503"),
        }
    }

    fn state(&self) -> Arc<JwksState> {
        self.state.borrow().clone()
    }
}

/// A key for encryption is no fault: many issuers publish one.
fn log_unusable(issuer: &str, key: &UnusableKey) {
    match key.is_for_encryption {
        true => info!(issuer, "the issuer publishes {key}"),
        false => warn!(issuer, "the issuer publishes a key that cannot be used: {key}"),
    }
}

impl fmt::Debug for JwksCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksCache").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwks(kid: &str) -> String {
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{}"}}]}}"#, "A".repeat(43))
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    async fn find(keys: &Arc<JwksCache>, kid: &str, seconds: i64) -> Result<usize, TokenError> {
        keys.find(Some(kid), at(seconds)).await.map(|keys| keys.len())
    }

    fn fetches(keys: &JwksCache) -> u64 {
        keys.fetches.load(Ordering::SeqCst)
    }

    fn is_rejection(error: TokenError) -> bool {
        matches!(error, TokenError::Invalid(rejection) if rejection.fault == TokenFault::UnknownKid)
    }

    fn is_unknown(found: Result<usize, TokenError>) -> bool {
        found.is_err_and(is_rejection)
    }

    fn seconds_to_wait(found: Result<usize, TokenError>) -> Option<i64> {
        match found {
            Err(TokenError::KeyNotFetched { retry_after, .. }) => Some(retry_after.num_seconds()),
            _ => None,
        }
    }

    #[tokio::test]
    async fn find_of_unknown_kids_fetches_once_in_thirty_seconds() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, jwks("first")).unwrap();
        let keys = JwksCache::new("issuer", JwksSource::File(file.clone()), vec![Algorithm::EdDsa]);
        assert!(keys.ready().is_err());
        assert_eq!(find(&keys, "first", 0).await.unwrap(), 1);
        assert!(keys.ready().is_ok());

        std::fs::write(&file, jwks("second")).unwrap();
        // A clock that is set back does not end the wait forever.
        for (time, wait) in [(0, 30), (29, 1), (-29, 1)] {
            assert_eq!(seconds_to_wait(find(&keys, "second", time).await), Some(wait), "at {time}");
        }
        assert_eq!(fetches(&keys), 1);
        assert_eq!(find(&keys, "second", 30).await.unwrap(), 1);
        assert_eq!(fetches(&keys), 2);
    }

    #[tokio::test]
    async fn find_rejects_a_kid_that_a_fetch_did_not_find() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, jwks("first")).unwrap();
        let keys = JwksCache::new("issuer", JwksSource::File(file.clone()), vec![Algorithm::EdDsa]);
        for seconds in [0, 1, 29] {
            assert!(is_unknown(find(&keys, "made-up", seconds).await), "looked up at 0");
        }
        assert_eq!(find(&keys, "first", 29).await.unwrap(), 1);
        std::fs::write(&file, jwks("second")).unwrap();
        assert!(is_unknown(find(&keys, "another", 30).await));
        assert!(is_unknown(find(&keys, "first", 31).await), "withdrawn");
        assert!(is_unknown(find(&keys, "made-up", 31).await));
        assert_eq!(seconds_to_wait(find(&keys, "third", 31).await), Some(29), "not looked up");
        std::fs::write(&file, jwks("made-up")).unwrap();
        assert!(is_unknown(find(&keys, "third", 60).await));
        assert_eq!(find(&keys, "made-up", 61).await.unwrap(), 1, "a kid can be published later");
        assert_eq!(fetches(&keys), 3);
    }

    #[tokio::test]
    async fn find_after_a_failed_fetch_keeps_the_keys_and_rejects_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, jwks("first")).unwrap();
        let keys = JwksCache::new("issuer", JwksSource::File(file.clone()), vec![Algorithm::EdDsa]);
        assert_eq!(find(&keys, "first", 0).await.unwrap(), 1);
        std::fs::remove_file(&file).unwrap();
        for seconds in [30, 31, 59] {
            let unavailable = find(&keys, "second", seconds).await;
            assert!(matches!(unavailable, Err(TokenError::KeysUnavailable { .. })));
        }
        assert_eq!(fetches(&keys), 2);
        assert_eq!(find(&keys, "first", 60).await.unwrap(), 1);
        assert!(keys.ready().is_ok());
    }

    #[tokio::test]
    async fn find_of_unusable_keys_rejects_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        let unusable = r#"{"kty":"EC","crv":"P-256","kid":"short","x":"AQ","y":"AQ"}"#;
        let encryption = r#"{"kty":"RSA","use":"enc","kid":"enc"}"#;
        std::fs::write(&file, format!(r#"{{"keys":[{unusable},{encryption}]}}"#)).unwrap();
        let keys = JwksCache::new("issuer", JwksSource::File(file.clone()), vec![Algorithm::EdDsa]);
        let unavailable = |found: Result<usize, TokenError>| match found {
            Err(TokenError::KeysUnavailable { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        for kid in ["short", "enc", "another"] {
            let reason = unavailable(find(&keys, kid, 0).await);
            assert!(reason.contains("kid \"short\", kty \"EC\", crv \"P-256\": its point"), "{reason}");
        }
        assert!(keys.ready().unwrap_err().contains("none of its 2 keys can be used"));

        let usable = jwks("first").replace("[", &format!("[{unusable},{encryption},"));
        std::fs::write(&file, usable).unwrap();
        assert_eq!(find(&keys, "first", 30).await.unwrap(), 1);
        assert!(keys.ready().is_ok());
        assert!(unavailable(find(&keys, "short", 31).await).contains("issuer publishes the key with kid"));
        assert!(is_unknown(find(&keys, "enc", 60).await), "it signs nothing");

        std::fs::write(&file, r#"{"keys":[]}"#).unwrap();
        assert!(unavailable(find(&keys, "another", 90).await).contains("it publishes no keys"));
        assert!(keys.ready().is_err() && keys.count() == 0, "withdrawn keys end");
    }

    #[tokio::test]
    async fn find_of_concurrent_tokens_shares_one_fetch() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, jwks("first")).unwrap();
        let keys = JwksCache::new("issuer", JwksSource::File(file), vec![Algorithm::EdDsa]);
        let found = futures_util::future::join_all((0..1000).map(|_| find(&keys, "first", 0))).await;
        assert!(found.into_iter().all(|found| found.is_ok_and(|keys| keys == 1)));
        assert_eq!(fetches(&keys), 1);
    }

    #[tokio::test]
    async fn fetch_keeps_the_arc_of_published_keys_and_drops_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, jwks("first")).unwrap();
        let keys = JwksCache::new("issuer", JwksSource::File(file.clone()), vec![Algorithm::EdDsa]);
        let key = keys.find(Some("first"), at(0)).await.unwrap().pop().unwrap();
        let weak = Arc::downgrade(&key);
        drop(key);
        keys.fetch(None, None).await.unwrap();
        assert_eq!(weak.strong_count(), 1);
        std::fs::write(&file, jwks("second")).unwrap();
        keys.fetch(None, None).await.unwrap();
        assert_eq!(weak.strong_count(), 0);
    }
}
