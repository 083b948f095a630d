//! Verify: is this key good? One decision, which the faces of the API only translate.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio::time::timeout;

use super::usage::Tally;
use super::{Service, ServiceError};
use crate::domain::caller::{Caller, Credential};
use crate::domain::key::ApiKey;
use crate::domain::scope::Scopes;
use crate::domain::secret::{Secret, SecretHash};
use crate::domain::verdict::Verdict;

/// How long whoever asks waits for the store.
const PATIENCE: Duration = Duration::from_millis(1800);

/// A key as it was read for one of its secrets, and what is derived from that once for all questions.
pub struct KnownKey {
    pub key: ApiKey,
    pub secret_ends: Option<DateTime<Utc>>,
    /// The key as one who makes requests.
    pub caller: Arc<Caller>,
    pub tally: Tally,
    /// The answer to a verify that finds it good, which is the same every time; a face of the API fills it.
    pub rendered: OnceLock<Bytes>,
}

pub struct Decision {
    pub verdict: Verdict,
    /// What was found; nothing, when the verdict is [`Verdict::NotFound`].
    pub known: Option<Arc<KnownKey>>,
}

impl Service {
    /// Decides about a presented string. An error is only what kept the service from knowing.
    pub async fn verify(&self, presented: &str, required: &Scopes) -> Result<Decision, ServiceError> {
        // Shape and checksum come first: what was never a secret of ours costs no look-up.
        let Ok(secret) = Secret::parse(presented) else {
            self.usage.count_unknown();
            return Ok(Decision { verdict: Verdict::NotFound, known: None });
        };
        let Some(known) = self.known_key(&secret).await? else {
            self.usage.count_unknown();
            return Ok(Decision { verdict: Verdict::NotFound, known: None });
        };
        let now = self.clock.now();
        let verdict = Verdict::of(&known.key, known.secret_ends, required, now);
        self.usage.count(&known, verdict, now);
        Ok(Decision { verdict, known: Some(known) })
    }

    /// The key that a secret is of, good or not.
    async fn known_key(&self, secret: &Secret<'_>) -> Result<Option<Arc<KnownKey>>, ServiceError> {
        let hash = self.peppers.newest().hash(secret);
        match self.cache.get(&hash) {
            Some(remembered) => Ok(remembered),
            // Boxed, so that an answer from memory does not carry the room that a reading needs.
            None => Box::pin(self.ask_store(secret, hash)).await,
        }
    }

    /// When the store does not answer, a key is what it was when it last did, within the limit that the cache knows.
    async fn ask_store(&self, secret: &Secret<'_>, hash: SecretHash) -> Result<Option<Arc<KnownKey>>, ServiceError> {
        if self.cache.is_cut_off()
            && let Some(known) = self.cache.recall(&hash)
        {
            return Ok(Some(known));
        }
        // Those who wait for another's reading, which then fails, read for themselves one after another.
        let read = timeout(PATIENCE, self.cache.get_or_read(&hash, self.read_key(secret, hash))).await;
        match read.unwrap_or_else(|_| Err(ServiceError::Unavailable("the store did not answer in time".into()))) {
            Err(ServiceError::Unavailable(reason)) => {
                self.cache.recall(&hash).map(Some).ok_or(ServiceError::Unavailable(reason))
            }
            read => read,
        }
    }

    /// How long a change of a key takes to be in force here, wherever it was made, as far as it is known.
    pub fn revocation_lag(&self) -> Duration {
        self.cache.lag()
    }

    /// Looks the secret up under every pepper in force. One that was hashed with an old pepper is hashed anew: the cache
    /// knows a key by its newest hash alone, and must hear of its changes by the same.
    async fn read_key(&self, secret: &Secret<'_>, newest: SecretHash) -> Result<Option<KnownKey>, ServiceError> {
        let older = self.peppers.all().iter().skip(1).map(|pepper| pepper.hash(secret));
        let hashes: Vec<_> = [newest].into_iter().chain(older).collect();
        let Some((mut key, mut stored)) = self.store.find_key_by_secret(&hashes).await? else { return Ok(None) };
        if stored.hash != newest {
            self.store.rehash_secret(key.id, stored.id, newest, self.peppers.newest().id()).await?;
            // A change until then was told under the old hash, which the cache does not listen to: only what is read from
            // here on is told under the newest.
            let Some(again) = self.store.find_key_by_secret(&[newest]).await? else { return Ok(None) };
            (key, stored) = again;
        }
        let credential = Credential::Key { id: key.id, expires_at: key.expires_at };
        Ok(Some(KnownKey {
            caller: Arc::new(Caller { owner: key.owner.clone(), scopes: key.scopes.clone(), credential }),
            secret_ends: stored.expires_at,
            tally: Tally::new(key.id, stored.id),
            rendered: OnceLock::new(),
            key,
        }))
    }
}
