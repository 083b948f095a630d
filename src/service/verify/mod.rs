//! Verify: is this key valid? One decision for every protocol of the API: JSON, forward auth, introspection, and API keys
//! as bearer credentials. A rate limit would be checked here, in [`Verifier::verify`], once the verdict is `Valid`.

pub mod cached_key;
pub mod interner;
pub mod response_cache;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::domain::api_key::KeyForSecret;
use crate::domain::clock::Clock;
use crate::domain::owner::Owner;
use crate::domain::scope::{RequiredScopes, Scopes};
use crate::domain::secret::Secret;
use crate::domain::secret_hash::{Peppers, SecretHash};
use crate::domain::verdict::Verdict;
use crate::service::cache::heap_size::HeapSize;
use crate::service::cache::{CacheBudget, KeyCache};
use crate::service::errors::ServiceError;
use crate::service::usage::recorder::UsageRecorder;
use crate::service::verify::cached_key::CachedKey;
use crate::service::verify::interner::Interner;
use crate::service::verify::response_cache::ResponseCache;
use crate::store::Store;

/// How long the verifications of one request may still wait for the store, all together: that of its caller and that of
/// the presented key. So the request responds within two seconds while the store hangs.
#[derive(Debug, Clone, Copy)]
pub struct WaitLimit(Duration);

impl Default for WaitLimit {
    fn default() -> Self {
        Self(Duration::from_millis(1800))
    }
}

/// The least bytes of keys to load between two times that the cache makes room for what keys share.
const MIN_STEP: usize = 256 << 10;

/// Verifies presented secrets, from the cache or from the store.
pub struct Verifier {
    store: Store,
    clock: Clock,
    peppers: Peppers,
    cache: Arc<KeyCache<CachedKey>>,
    owners: Interner<Owner>,
    scopes: Interner<Scopes>,
    responses: ResponseCache,
    usage: Arc<UsageRecorder>,
    /// The limit of what cached keys and the interners occupy.
    bytes_limit: usize,
    /// Bytes of keys that were loaded since the cache made room for what keys share.
    loaded_bytes: AtomicUsize,
}

/// The outcome of a verification.
pub struct Decision {
    pub verdict: Verdict,
    /// The key of the presented secret; `None` if the verdict is [`Verdict::NotFound`].
    pub key: Option<Arc<CachedKey>>,
}

impl Decision {
    const NOT_FOUND: Self = Self { verdict: Verdict::NotFound, key: None };
}

/// Counters and sizes for monitoring.
pub struct VerifierStats {
    /// Lookups of secrets that the cache could satisfy, since the start.
    pub cache_hits: u64,
    /// Lookups that had to read the store, since the start.
    pub cache_misses: u64,
    /// Cached secrets with their keys.
    pub positive_entries: usize,
    /// Cached secrets that no key has.
    pub negative_entries: usize,
    /// What cached keys occupy, owners and scopes included.
    pub key_bytes: usize,
    /// What serialized responses occupy.
    pub response_bytes: usize,
    /// The time that a change made by another process takes to take effect here, as last measured; while the change
    /// feed is disconnected, the time since it last delivered anything.
    pub revocation_lag: Duration,
}

impl Verifier {
    pub(super) fn new(
        store: Store,
        clock: Clock,
        peppers: Peppers,
        cache: Arc<KeyCache<CachedKey>>,
        usage: Arc<UsageRecorder>,
        budget: CacheBudget,
    ) -> Self {
        let (owners, scopes, loaded_bytes) = Default::default();
        let (responses, bytes_limit) = (ResponseCache::new(budget.responses()), budget.keys());
        Self { store, clock, peppers, cache, owners, scopes, responses, usage, bytes_limit, loaded_bytes }
    }

    /// Decides whether a presented string is a valid key with the required scopes. Returns an error only if that cannot
    /// be decided within the limit. Subtracts from the limit the time that it waited.
    pub async fn verify(
        &self,
        presented: &str,
        required: &RequiredScopes,
        limit: &mut WaitLimit,
    ) -> Result<Decision, ServiceError> {
        let Some(key) = self.find(presented, limit).await? else {
            self.usage.count_not_found();
            return Ok(Decision::NOT_FOUND);
        };
        let now = self.clock.now();
        let verdict = key.verdict(required, now);
        self.usage.count(&key, verdict, now);
        Ok(Decision { verdict, key: Some(key) })
    }

    /// Returns the key of a presented string, valid or not, without counting a verification.
    pub async fn find(&self, presented: &str, limit: &mut WaitLimit) -> Result<Option<Arc<CachedKey>>, ServiceError> {
        // A string of the wrong shape or checksum was never a secret of this service, and costs no lookup.
        let Ok(secret) = Secret::parse(presented) else { return Ok(None) };
        self.cached_or_loaded_key(&secret, limit).await
    }

    /// The serialized responses to successful verifications.
    pub fn responses(&self) -> &ResponseCache {
        &self.responses
    }

    /// Counters and sizes for monitoring.
    pub fn stats(&self) -> VerifierStats {
        VerifierStats {
            cache_hits: self.cache.hits(),
            cache_misses: self.cache.misses(),
            positive_entries: self.cache.positive_entries(),
            negative_entries: self.cache.negative_entries(),
            key_bytes: self.cache.positive_bytes() + self.shared_bytes(),
            response_bytes: self.responses.bytes(),
            revocation_lag: self.cache.freshness.lag(),
        }
    }

    /// Returns the key of a secret, valid or not.
    async fn cached_or_loaded_key(
        &self,
        secret: &Secret<'_>,
        limit: &mut WaitLimit,
    ) -> Result<Option<Arc<CachedKey>>, ServiceError> {
        let hash = self.peppers.newest().hash(secret);
        match self.cache.get(&hash) {
            Some(Some(key)) => Ok(Some(key)),
            Some(None) if self.peppers.later().is_empty() => Ok(None),
            // Boxed, so that the future of a cache hit does not reserve the space that a load needs.
            _ => Box::pin(self.load_with_stale_fallback(secret, hash, limit)).await,
        }
    }

    /// Loads the key; while the store is unreachable, returns the stale cached key within the configured limit.
    async fn load_with_stale_fallback(
        &self,
        secret: &Secret<'_>,
        hash: SecretHash,
        WaitLimit(left): &mut WaitLimit,
    ) -> Result<Option<Arc<CachedKey>>, ServiceError> {
        let hashes = || [hash].into_iter().chain(self.peppers.later().iter().map(|pepper| pepper.hash(secret)));
        let get_stale = || hashes().find_map(|hash| self.cache.get_stale(&hash));
        if self.cache.freshness.store_is_unreachable()
            && let Some(key) = get_stale()
        {
            return Ok(Some(key));
        }
        // If the load that others wait for fails, each of them loads in turn, so the limit covers all of it.
        let began = Instant::now();
        let load = timeout(*left, self.get_or_load_key(secret, hash)).await;
        *left = left.saturating_sub(began.elapsed());
        match load.unwrap_or_else(|_| Err(ServiceError::Unavailable("the store did not respond in time".into()))) {
            Err(error @ (ServiceError::Unavailable(_) | ServiceError::StoreRejected { .. })) => {
                get_stale().map(Some).ok_or(error)
            }
            loaded => loaded,
        }
    }

    /// Looks the secret up, under later peppers last: a rehash by another replica moves it in that direction only.
    /// Changes are published under the hash that is stored, so a secret of a later pepper is cached under that hash.
    async fn get_or_load_key(
        &self,
        secret: &Secret<'_>,
        newest: SecretHash,
    ) -> Result<Option<Arc<CachedKey>>, ServiceError> {
        let mut key = self.cache.get_or_load(&newest, self.load_key(secret, newest)).await?;
        for pepper in self.peppers.later() {
            if key.is_some() {
                break;
            }
            let hash = pepper.hash(secret);
            key = self.cache.get_or_load(&hash, self.load_key_of_later_pepper(hash)).await?;
        }
        Ok(key)
    }

    async fn load_key_of_later_pepper(&self, hash: SecretHash) -> Result<Option<CachedKey>, ServiceError> {
        let key = self.store.find_key_by_secret(&[hash]).await?;
        Ok(key.map(|key| self.cached_key(key)))
    }

    /// Looks the secret up under the newest pepper and under earlier ones, whose hash is replaced by the newest: the
    /// cache and the change feed then identify the secret by its newest hash alone.
    async fn load_key(&self, secret: &Secret<'_>, newest: SecretHash) -> Result<Option<CachedKey>, ServiceError> {
        let earlier = self.peppers.earlier().iter().map(|pepper| pepper.hash(secret));
        let hashes: Vec<_> = [newest].into_iter().chain(earlier).collect();
        let Some(mut key) = self.store.find_key_by_secret(&hashes).await? else { return Ok(None) };
        if key.secret_hash != newest {
            // Boxed: a rehash is rare, and every load would reserve the space that it needs.
            Box::pin(self.store.rehash_secret(key.id, key.secret_id, newest, self.peppers.newest().id())).await?;
            // A change before the rehash was published under the old hash, which invalidates nothing here. Changes to
            // what is read from here on are published under the newest hash.
            let Some(again) = self.store.find_key_by_secret(&[newest]).await? else { return Ok(None) };
            key = again;
        }
        Ok(Some(self.cached_key(key)))
    }

    /// Packs a loaded key. Once for every thirty-second part of the limit that was loaded, makes room for what keys share:
    /// doing so visits every shared value.
    fn cached_key(&self, key: KeyForSecret) -> CachedKey {
        let key = CachedKey::new(key, &self.owners, &self.scopes);
        let bytes = CachedKey::ALLOCATION + key.heap_size() + key.owner.heap_size() + key.scopes.heap_size();
        let step = (self.bytes_limit / 32).max(MIN_STEP);
        if self.loaded_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > step
            && self.loaded_bytes.swap(0, Ordering::Relaxed) > step
        {
            self.free_unused();
        }
        key
    }

    /// Frees owners and scopes that no key in memory has, and gives their room to keys.
    pub fn free_unused(&self) {
        self.owners.free_unused();
        self.scopes.free_unused();
        self.cache.make_room_for_shared(self.shared_bytes());
    }

    fn shared_bytes(&self) -> usize {
        self.owners.bytes() + self.scopes.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metadata::Metadata;
    use crate::domain::secret::Entropy;
    use crate::service::cache::CacheConfig;
    use crate::service::verify::cached_key::tests::loaded_key;

    const LIMIT: usize = 3 << 20;

    /// A verifier whose cached keys may occupy [`LIMIT`].
    async fn verifier() -> Verifier {
        let budget = CacheBudget(LIMIT / 3 * 4);
        let (ttl, max_staleness) = (Duration::from_secs(60), Duration::from_secs(60));
        let cache = KeyCache::new(CacheConfig { budget, ttl, max_staleness });
        cache.freshness.caught_up_to(std::time::Instant::now());
        let store = Store::open("sqlite::memory:", 1).await.unwrap();
        let peppers = Peppers::derive(&"m".repeat(32)).unwrap();
        let usage = Arc::new(UsageRecorder::new(budget.pending_usage()));
        Verifier::new(store, Clock::System, peppers, Arc::new(cache), usage, budget)
    }

    fn hash(number: u64) -> SecretHash {
        let mut hash = [0; 32];
        hash[16..24].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        SecretHash(hash)
    }

    /// Loads a key as [`Verifier::load_key`] does.
    async fn load(verifier: &Verifier, number: u64, key: KeyForSecret) {
        let key = async { Ok::<_, ()>(Some(verifier.cached_key(key))) };
        verifier.cache.get_or_load(&hash(number), key).await.unwrap();
    }

    fn secret(byte: u8) -> Secret<'static> {
        Secret::mint(&"mk".parse().unwrap(), &Entropy::fixed([byte; 32]), chrono::DateTime::UNIX_EPOCH)
    }

    /// The caller's key and the presented one are looked up in turn, and neither lookup ends.
    #[tokio::test]
    async fn verify_waits_for_a_frozen_store_once_a_request() {
        let verifier = Arc::new(verifier().await);
        let secrets = [secret(1), secret(2)];
        for hash in secrets.each_ref().map(|secret| verifier.peppers.newest().hash(secret)) {
            let verifier = Arc::clone(&verifier);
            let frozen = std::future::pending::<Result<_, ()>>();
            tokio::spawn(async move { verifier.cache.get_or_load(&hash, frozen).await.map(|_| ()) });
        }
        tokio::task::yield_now().await;
        assert!(WaitLimit::default().0 < Duration::from_secs(2));
        let mut limit = WaitLimit(Duration::from_millis(20));
        for secret in &secrets {
            let decision = verifier.verify(secret.expose(), &RequiredScopes::default(), &mut limit).await;
            assert!(matches!(decision, Err(ServiceError::Unavailable(_))));
            assert_eq!(limit.0, Duration::ZERO, "the second has no time left");
        }
    }

    #[tokio::test]
    async fn verify_of_a_key_in_memory_leaves_the_limit_unchanged() {
        let (verifier, secret) = (verifier().await, secret(1));
        let key = async { Ok::<_, ()>(Some(verifier.cached_key(loaded_key("n", Metadata::default(), None, None)))) };
        verifier.cache.get_or_load(&verifier.peppers.newest().hash(&secret), key).await.unwrap();
        let mut limit = WaitLimit(Duration::from_nanos(1));
        let decision = verifier.verify(secret.expose(), &RequiredScopes::default(), &mut limit).await.unwrap();
        assert_eq!((decision.verdict, limit.0), (Verdict::Valid, Duration::from_nanos(1)));
    }

    fn metadata(bytes: usize) -> Metadata {
        Metadata::from_db(&format!(r#"{{"k":"{}"}}"#, "x".repeat(bytes))).unwrap()
    }

    #[tokio::test]
    async fn cached_keys_with_large_metadata_stay_within_the_limit() {
        let verifier = verifier().await;
        for number in 0..2000 {
            load(&verifier, number, loaded_key("large", metadata(4000), None, None)).await;
        }
        let stats = verifier.stats();
        assert!(stats.key_bytes <= LIMIT && stats.key_bytes > LIMIT * 9 / 10, "{}", stats.key_bytes);
        assert!((550..750).contains(&stats.positive_entries), "{}", stats.positive_entries);
    }

    #[tokio::test]
    async fn cached_keys_with_scopes_of_their_own_stay_within_the_limit() {
        let verifier = verifier().await;
        for number in 0..5000 {
            let names: Vec<_> = (0..20).map(|scope| format!("projects-{number}:{scope}")).collect();
            let scopes = Scopes::from_untrusted_lossy(names.iter().map(String::as_str));
            let owner = Owner { issuer: "i".into(), subject: number.to_string(), organization: None };
            load(&verifier, number, KeyForSecret { scopes, owner, ..loaded_key("n", Metadata::default(), None, None) })
                .await;
            let bytes = verifier.stats().key_bytes;
            assert!(bytes <= LIMIT + MIN_STEP + 4096, "{bytes} after {number}");
        }
        assert!(verifier.stats().key_bytes > LIMIT * 3 / 4);
        // Keys that share take the place once they are used, and the unused owners and scopes are freed.
        for number in 5000..25_000 {
            load(&verifier, number, loaded_key("n", Metadata::default(), None, None)).await;
            verifier.cache.get(&hash(number));
        }
        verifier.free_unused();
        let stats = verifier.stats();
        assert!(stats.key_bytes <= LIMIT && stats.positive_entries > 10_000, "{}", stats.positive_entries);
        assert!(verifier.shared_bytes() < LIMIT / 10, "{}", verifier.shared_bytes());
    }

    #[tokio::test]
    async fn cached_keys_that_share_owner_and_scopes_count_them_once() {
        let verifier = verifier().await;
        for number in 0..20_000 {
            load(&verifier, number, loaded_key("n", Metadata::default(), None, None)).await;
        }
        let stats = verifier.stats();
        assert!(stats.positive_entries > LIMIT / 225, "{}", stats.positive_entries);
    }
}
