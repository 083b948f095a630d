//! Verify: is this key good? One decision, which the faces of the API only translate.

pub mod cached_key;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::domain::scope::Scopes;
use crate::domain::secret::Secret;
use crate::domain::secret_hash::SecretHash;
use crate::domain::verdict::Verdict;
use crate::service::verify::cached_key::CachedKey;
use crate::service::{Service, ServiceError};

/// How long whoever asks waits for the store.
const PATIENCE: Duration = Duration::from_millis(1800);

pub struct Decision {
    pub verdict: Verdict,
    /// What was found; nothing, when the verdict is [`Verdict::NotFound`].
    pub known: Option<Arc<CachedKey>>,
}

/// The answers to a verify that finds its key good, which are the same every time, rendered by a face of the API. They
/// are larger than what is known of the keys, so that only those given last are kept, one in each place.
pub struct Answers(Box<[RwLock<Option<Answer>>]>);

/// And the key that it is about.
type Answer = (Bytes, Arc<CachedKey>);

impl Default for Answers {
    fn default() -> Self {
        const PLACES: usize = 4096;
        Self((0..PLACES).map(|_| RwLock::default()).collect())
    }
}

impl Answers {
    pub fn get_or_render(&self, known: &Arc<CachedKey>, render: impl FnOnce() -> Bytes) -> Bytes {
        // The end of an id is random.
        let place = &self.0[known.id.as_u128() as usize % self.0.len()];
        if let Some((answer, of)) = &*place.read().unwrap_or_else(PoisonError::into_inner)
            && Arc::ptr_eq(of, known)
        {
            return answer.clone();
        }
        let answer = render();
        *place.write().unwrap_or_else(PoisonError::into_inner) = Some((answer.clone(), known.clone()));
        answer
    }
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
        let verdict = known.verdict(required, now);
        self.usage.count(&known, verdict, now);
        Ok(Decision { verdict, known: Some(known) })
    }

    /// The key that a secret is of, good or not.
    async fn known_key(&self, secret: &Secret<'_>) -> Result<Option<Arc<CachedKey>>, ServiceError> {
        let hash = self.peppers.newest().hash(secret);
        match self.cache.get(&hash) {
            Some(remembered) => Ok(remembered),
            // Boxed, so that an answer from memory does not carry the room that a reading needs.
            None => Box::pin(self.ask_store(secret, hash)).await,
        }
    }

    /// When the store does not answer, a key is what it was when it last did, within the limit that the cache knows.
    async fn ask_store(&self, secret: &Secret<'_>, hash: SecretHash) -> Result<Option<Arc<CachedKey>>, ServiceError> {
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
    async fn read_key(&self, secret: &Secret<'_>, newest: SecretHash) -> Result<Option<CachedKey>, ServiceError> {
        let older = self.peppers.all().iter().skip(1).map(|pepper| pepper.hash(secret));
        let hashes: Vec<_> = [newest].into_iter().chain(older).collect();
        let Some(mut key) = self.store.find_key_by_secret(&hashes).await? else { return Ok(None) };
        if key.secret_hash != newest {
            // Boxed: it is rare, and every look-up would carry the room that it needs.
            Box::pin(self.store.rehash_secret(key.id, key.secret_id, newest, self.peppers.newest().id())).await?;
            // A change until then was told under the old hash, which the cache does not listen to: only what is read from
            // here on is told under the newest.
            let Some(again) = self.store.find_key_by_secret(&[newest]).await? else { return Ok(None) };
            key = again;
        }
        Ok(Some(CachedKey::new(key, &self.owners, &self.scopes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metadata::Metadata;
    use crate::service::verify::cached_key::tests::known;

    #[test]
    fn an_answer_is_rendered_once_for_each_reading_of_the_key() {
        let answers = Answers::default();
        let first = Arc::new(known(Metadata::default(), None, None));
        let mut again = known(Metadata::default(), None, None);
        again.id = first.id;
        let again = Arc::new(again);
        let answer = |key, text: &'static str| answers.get_or_render(key, || Bytes::from_static(text.as_bytes()));
        assert_eq!(answer(&first, "first"), "first");
        assert_eq!(answer(&first, "not rendered"), "first");
        assert_eq!(answer(&again, "again"), "again");
        assert_eq!(answer(&first, "anew"), "anew");
    }
}
