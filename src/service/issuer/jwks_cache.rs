//! Key set: the keys of an issuer as they were last seen, and when they are looked at again.
//!
//! They are fetched in the background before they age out, and in between when a token names a key that is not among
//! them. What fails leaves the keys as they are: a provider that is down ends no session.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::Algorithm;
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

use crate::service::ServiceError;
use crate::service::auth::AuthError;
use crate::service::issuer::discovery::{Metadata, Provider};
use crate::service::issuer::jwks::{self, Key};

/// Between two fetches for the sake of keys that tokens name: whatever is sent, the provider is not bothered more often.
const BETWEEN_DEMANDS: TimeDelta = TimeDelta::seconds(30);
/// How long keys are taken for fresh, when the provider does not say (`Cache-Control`), and within which bounds it may.
const FRESH: Duration = Duration::from_secs(300);
const FRESH_AT_LEAST: Duration = Duration::from_secs(60);
const FRESH_AT_MOST: Duration = Duration::from_secs(3600);
/// After a fetch that failed; sooner at first, while there are no keys at all.
const RETRY: Duration = Duration::from_secs(30);

pub struct JwksCache {
    issuer: String,
    source: Source,
    held: watch::Sender<Arc<Held>>,
    /// Held during a fetch, so that there is one at a time; within, when a token last demanded one.
    turn: Arc<Mutex<Option<DateTime<Utc>>>>,
}

pub enum Source {
    /// Keys that do not change while the process runs.
    Fixed(Arc<Key>),
    File(PathBuf),
    Provider(Provider),
}

struct Held {
    keys: Vec<Arc<Key>>,
    metadata: Option<Arc<Metadata>>,
    /// When the keys were last had, from wherever they can be had anew.
    fetched: Option<Instant>,
    /// Whether keys were ever had.
    ready: bool,
    /// How many fetches there were: who waits for one knows by it that another has just ended.
    fetches: u64,
    /// How the last one ended.
    outcome: Result<(), String>,
}

struct Fetched {
    keys: Vec<Arc<Key>>,
    metadata: Option<Arc<Metadata>>,
    fresh: Duration,
}

impl JwksCache {
    pub fn new(issuer: &str, source: Source) -> Arc<Self> {
        let keys = match &source {
            Source::Fixed(key) => vec![key.clone()],
            Source::File(_) | Source::Provider(_) => Vec::new(),
        };
        let ready = !keys.is_empty();
        let outcome = if ready { Ok(()) } else { Err("not fetched yet".to_owned()) };
        let held =
            watch::Sender::new(Arc::new(Held { keys, metadata: None, fetched: None, ready, fetches: 0, outcome }));
        Arc::new(Self { issuer: issuer.to_owned(), source, held, turn: Arc::default() })
    }

    /// Whether tokens can be judged, or why not yet.
    pub fn ready(&self) -> Result<(), String> {
        let held = self.held();
        if held.ready { Ok(()) } else { held.outcome.clone() }
    }

    /// What the provider says of itself, once it was asked.
    pub fn metadata(&self) -> Option<Arc<Metadata>> {
        self.held().metadata.clone()
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.held().keys.len()
    }

    /// How long ago the keys were last had, if they can change at all.
    pub fn age(&self) -> Option<Duration> {
        self.held().fetched.map(|fetched| fetched.elapsed())
    }

    /// The keys that a token with this `kid` may be signed with.
    ///
    /// A `kid` that is not known now may be that of a new key. After a look that succeeded it is a wrong one; after one
    /// that failed nobody knows, which is an outage and not the token's fault.
    pub async fn find(
        self: &Arc<Self>,
        id: Option<&str>,
        algorithm: Algorithm,
        now: DateTime<Utc>,
    ) -> Result<Vec<Arc<Key>>, AuthError> {
        let mut held = self.held();
        if !held.knows(id) {
            held = self.look_again(held.fetches, now).await;
        }
        match &held.outcome {
            _ if held.knows(id) => {
                let fitting = held.keys.iter().filter(|key| id.is_none_or(|id| key.id() == Some(id)));
                Ok(fitting.filter(|key| key.may_sign_with(algorithm)).cloned().collect())
            }
            Ok(()) => Err(AuthError::InvalidCredential("a kid that the issuer does not have")),
            Err(reason) => {
                let reason = format!("the keys of {} cannot be had: {reason}", self.issuer);
                Err(AuthError::Unavailable(ServiceError::IssuerUnavailable(reason)))
            }
        }
    }

    /// The keys as they are now, for whoever looks at a deployment; nothing is kept.
    pub async fn look(&self) -> Result<Vec<Arc<Key>>, String> {
        Ok(self.source.fetch(None).await?.keys)
    }

    /// Fetches the keys for ever, each time before they age out.
    pub async fn keep_fresh(self: Arc<Self>) {
        if matches!(self.source, Source::Fixed(_)) {
            return;
        }
        let mut soon = Duration::from_millis(500);
        loop {
            let turn = self.turn.lock().await;
            let fresh = self.fetch(None).await;
            drop(turn);
            let wait = match fresh {
                // A fifth of the time is left for what may fail.
                Ok(fresh) => fresh.clamp(FRESH_AT_LEAST, FRESH_AT_MOST) * 4 / 5,
                Err(()) if self.held().ready => RETRY,
                Err(()) => {
                    soon = (soon * 2).min(RETRY);
                    soon
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The keys after a fetch that began after `seen`, if one may be made now.
    async fn look_again(self: &Arc<Self>, seen: u64, now: DateTime<Utc>) -> Arc<Held> {
        if matches!(self.source, Source::Fixed(_)) {
            return self.held();
        }
        let mut turn = self.turn.clone().lock_owned().await;
        let recent = turn.is_some_and(|last| (now - last).abs() < BETWEEN_DEMANDS);
        if self.held().fetches == seen && !recent {
            *turn = Some(now);
            let this = self.clone();
            // In a task of its own: others wait for it, too, when the client that asked has gone away.
            let fetch = tokio::spawn(async move {
                let metadata = this.metadata();
                let _ = this.fetch(metadata).await;
                drop(turn);
            });
            let _ = fetch.await;
        }
        self.held()
    }

    /// For how long the new keys are fresh. `known` saves asking the provider where they are.
    async fn fetch(&self, known: Option<Arc<Metadata>>) -> Result<Duration, ()> {
        let fetched = self.source.fetch(known).await;
        let before = self.held();
        let fetches = before.fetches + 1;
        let (held, fresh) = match fetched {
            Ok(Fetched { keys, metadata, fresh }) => {
                // A key that stays is the same one: tokens that it signed stay remembered, those of others do not.
                let same = |key: Arc<Key>| before.keys.iter().find(|old| **old == key).cloned().unwrap_or(key);
                let keys: Vec<_> = keys.into_iter().map(same).collect();
                if !before.ready || keys != before.keys {
                    info!(issuer = self.issuer, keys = keys.len(), "fetched the issuer's keys");
                }
                let fetched = Some(Instant::now());
                (Held { keys, metadata, fetched, ready: true, fetches, outcome: Ok(()) }, Ok(fresh))
            }
            Err(reason) => {
                if before.ready {
                    warn!(
                        issuer = self.issuer,
                        reason, "the issuer's keys could not be fetched; the old ones are kept"
                    );
                } else {
                    warn!(
                        issuer = self.issuer,
                        reason,
                        "the issuer's keys could not be fetched; until they are, its tokens are answered with 503"
                    );
                }
                let (keys, metadata) = (before.keys.clone(), before.metadata.clone());
                let (fetched, ready) = (before.fetched, before.ready);
                (Held { keys, metadata, fetched, ready, fetches, outcome: Err(reason) }, Err(()))
            }
        };
        self.held.send_replace(Arc::new(held));
        fresh
    }

    fn held(&self) -> Arc<Held> {
        self.held.borrow().clone()
    }
}

impl fmt::Debug for JwksCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksCache").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Held {
    /// A token without a `kid` may be of any key, so a look for more would be one for every bad signature.
    fn knows(&self, id: Option<&str>) -> bool {
        match id {
            Some(id) => self.keys.iter().any(|key| key.id() == Some(id)),
            None => !self.keys.is_empty(),
        }
    }
}

impl Source {
    async fn fetch(&self, known: Option<Arc<Metadata>>) -> Result<Fetched, String> {
        match self {
            Self::Fixed(key) => Ok(Fetched { keys: vec![key.clone()], metadata: None, fresh: FRESH_AT_MOST }),
            Self::File(path) => {
                let text = tokio::fs::read(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
                let keys = jwks::parse(&text).map_err(|reason| format!("{}: {reason}", path.display()))?;
                Ok(Fetched { keys, metadata: None, fresh: FRESH_AT_LEAST })
            }
            Self::Provider(provider) => {
                let (metadata, jwks, fresh) = provider.fetch(known).await?;
                let keys = jwks::parse(&jwks).map_err(|reason| format!("{}: {reason}", metadata.jwks_uri))?;
                Ok(Fetched { keys, metadata: Some(metadata), fresh: fresh.unwrap_or(FRESH) })
            }
        }
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

    async fn find(keys: &Arc<JwksCache>, kid: &str, seconds: i64) -> Result<usize, AuthError> {
        keys.find(Some(kid), Algorithm::EdDSA, at(seconds)).await.map(|keys| keys.len())
    }

    #[tokio::test]
    async fn names_of_keys_cause_one_look_in_thirty_seconds() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, jwks("first")).unwrap();
        let keys = JwksCache::new("issuer", Source::File(file.clone()));
        assert!(keys.ready().is_err());
        assert_eq!(find(&keys, "first", 0).await.unwrap(), 1);
        assert!(keys.ready().is_ok());

        std::fs::write(&file, jwks("second")).unwrap();
        assert!(matches!(find(&keys, "second", 29).await, Err(AuthError::InvalidCredential(_))));
        // A clock that is set back does not end the wait for good.
        assert!(matches!(find(&keys, "second", -29).await, Err(AuthError::InvalidCredential(_))));
        assert_eq!(find(&keys, "second", 30).await.unwrap(), 1);
        assert!(matches!(find(&keys, "first", 31).await, Err(AuthError::InvalidCredential(_))));
        assert_eq!(keys.held().fetches, 2);
    }

    #[tokio::test]
    async fn a_look_that_fails_leaves_the_keys_and_decides_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, jwks("first")).unwrap();
        let keys = JwksCache::new("issuer", Source::File(file.clone()));
        assert_eq!(find(&keys, "first", 0).await.unwrap(), 1);
        std::fs::remove_file(&file).unwrap();
        for seconds in [30, 31, 59] {
            let undecided = find(&keys, "second", seconds).await;
            assert!(matches!(undecided, Err(AuthError::Unavailable(ServiceError::IssuerUnavailable(_)))));
        }
        assert_eq!(keys.held().fetches, 2);
        assert_eq!(find(&keys, "first", 60).await.unwrap(), 1);
        assert!(keys.ready().is_ok());
    }

    #[tokio::test]
    async fn all_who_wait_share_one_look() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, jwks("first")).unwrap();
        let keys = JwksCache::new("issuer", Source::File(file));
        let found = futures_util::future::join_all((0..1000).map(|_| find(&keys, "first", 0))).await;
        assert!(found.into_iter().all(|found| found.is_ok_and(|keys| keys == 1)));
        assert_eq!(keys.held().fetches, 1);
    }

    #[tokio::test]
    async fn a_key_that_stays_is_the_same_one_and_one_that_goes_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("jwks.json");
        std::fs::write(&file, jwks("first")).unwrap();
        let keys = JwksCache::new("issuer", Source::File(file.clone()));
        let key = keys.find(Some("first"), Algorithm::EdDSA, at(0)).await.unwrap().pop().unwrap();
        let remembered = Arc::downgrade(&key);
        drop(key);
        keys.fetch(None).await.unwrap();
        assert_eq!(remembered.strong_count(), 1);
        std::fs::write(&file, jwks("second")).unwrap();
        keys.fetch(None).await.unwrap();
        assert_eq!(remembered.strong_count(), 0);
    }
}
