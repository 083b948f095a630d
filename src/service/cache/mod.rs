//! Cache: recently verified keys in memory.
//!
//! There are two maps, so that lookups of secrets that do not exist evict no keys: positive entries, and a few negative
//! ones, of hashes that belong to no key. Both are bounded by the bytes that they occupy and by age; [`generations`] tells which
//! entries are outdated by a change, and [`freshness`] what may be used while changes are not received.
//!
//! quick_cache, because with a million entries it took 460 ns a lookup and 106 bytes an entry besides its value, where
//! moka took 1670 ns and 368 bytes (two cores, both with the hasher of [`entry`]), and because concurrent lookups share
//! one load.

mod budget;
mod entry;
pub mod freshness;
mod generations;
pub mod heap_size;

mod atomic {
    pub use std::sync::atomic::{AtomicU64, Ordering};
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::domain::secret_hash::SecretHash;
use crate::service::cache::entry::{CacheEntry, FillGuard};
use crate::service::cache::freshness::{CacheInstant, Freshness, nanos};
use crate::service::cache::generations::{Generation, GenerationTable};
use crate::service::cache::heap_size::HeapSize;

pub use crate::service::cache::budget::CacheBudget;
pub use crate::service::cache::entry::{HashMapCache, cache_key, hash_map_cache};

/// Keys by the hashes of their secrets.
pub struct KeyCache<T> {
    positive: HashMapCache<CacheEntry<Arc<T>>>,
    /// The bytes of positive entries and of what they share.
    limit: usize,
    negative: HashMapCache<CacheEntry<()>>,
    generations: GenerationTable,
    /// In nanoseconds.
    ttl: u64,
    /// Set by what follows the change feed.
    pub freshness: Freshness,
    /// When the load of the newest positive entry began.
    last_load: AtomicU64,
    /// When all entries were last invalidated.
    last_invalidation: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// The settings of [`KeyCache`].
#[derive(Debug, Clone, Copy)]
pub struct CacheConfig {
    /// Bytes for cached keys, and for what else is cached.
    pub budget: CacheBudget,
    /// Time before a cached key is loaded again.
    pub ttl: Duration,
    /// Time for which cached keys are verified while the store is unreachable.
    pub max_staleness: Duration,
}

/// What a lookup saw when it began.
#[derive(Clone, Copy)]
struct LookupContext {
    generation: Generation,
    began_at: CacheInstant,
    cache_is_fresh: bool,
}

/// Bytes for negative entries: about 11,000.
const NEGATIVE_BYTES: usize = 640 * 1024;
/// 512 KiB; of a million entries a change invalidates about fifteen others.
const GENERATIONS: usize = 1 << 16;

impl<T: HeapSize> KeyCache<T> {
    /// An empty cache.
    pub fn new(CacheConfig { budget, ttl, max_staleness }: CacheConfig) -> Self {
        let limit = budget.keys();
        Self {
            positive: hash_map_cache(limit),
            limit,
            negative: hash_map_cache(NEGATIVE_BYTES),
            generations: GenerationTable::new(GENERATIONS),
            ttl: nanos(ttl),
            freshness: Freshness::new(max_staleness),
            last_load: AtomicU64::new(0),
            last_invalidation: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Returns the cached key of a hash. The inner `None` is a negative entry, the outer one a miss.
    pub fn get(&self, hash: &SecretHash) -> Option<Option<Arc<T>>> {
        let cached = self.peek(&hash.0, self.begin_lookup(&hash.0));
        let counter = if cached.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        cached
    }

    /// Calls of [`get`](Self::get) that found an entry.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Calls of [`get`](Self::get) that did not.
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// The number of cached keys.
    pub fn positive_entries(&self) -> usize {
        self.positive.len()
    }

    /// The bytes that cached keys occupy, without what they share.
    pub fn positive_bytes(&self) -> usize {
        self.positive.weight() as usize
    }

    /// Evicts keys until the cached ones and what they share are within the limit. Call it from time to time while keys are
    /// loaded. What one key holds of the shared bytes is not known; assumes that each holds as much as the average.
    pub fn make_room_for_shared(&self, shared: usize) {
        let (own, limit) = (u128::from(self.positive.weight()), self.limit as u128);
        let capacity = if own == 0 { limit } else { limit * own / (own + shared as u128) };
        self.positive.set_capacity(capacity as u64);
    }

    /// The number of cached hashes that belong to no key.
    pub fn negative_entries(&self) -> usize {
        self.negative.len()
    }

    /// Returns the cached key of a hash, or loads it. Concurrent lookups of a hash share one load. An error is not cached.
    pub async fn get_or_load<E>(
        &self,
        hash: &SecretHash,
        load: impl Future<Output = Result<Option<T>, E>>,
    ) -> Result<Option<Arc<T>>, E> {
        let SecretHash(hash) = hash;
        let lookup = self.begin_lookup(hash);
        if let Some(cached) = self.peek(hash, lookup) {
            return Ok(cached);
        }
        loop {
            let previous = self.positive.get(cache_key(hash));
            self.positive.remove_if(cache_key(hash), |entry| !self.is_valid_for(entry, lookup));
            match self.positive.get_value_or_guard_async(cache_key(hash)).await {
                Ok(entry) if self.is_valid_for(&entry, lookup) => return Ok(Some(entry.value)),
                // Loaded by another lookup, which began before a change that had finished when this one began.
                Ok(_) => {}
                Err(placeholder) => {
                    return self.load(hash, lookup, FillGuard::new(placeholder, previous), load).await;
                }
            }
        }
    }

    async fn load<E>(
        &self,
        hash: &[u8; 32],
        lookup: LookupContext,
        guard: FillGuard<'_, Arc<T>>,
        load: impl Future<Output = Result<Option<T>, E>>,
    ) -> Result<Option<Arc<T>>, E> {
        let (generation, loaded_at) = (self.generations.current(hash), self.freshness.instant(Instant::now()));
        // Another lookup may have added a negative entry while this one waited for the placeholder.
        if self.negative.get(cache_key(hash)).is_some_and(|entry| self.is_valid_for(&entry, lookup)) {
            return Ok(None);
        }
        match load.await? {
            Some(value) => {
                let value = Arc::new(value);
                guard.fill(CacheEntry { value: value.clone(), generation, loaded_at });
                self.last_load.fetch_max(loaded_at, Ordering::Relaxed);
                Ok(Some(value))
            }
            None => {
                guard.clear();
                self.negative.insert(*cache_key(hash), CacheEntry { value: (), generation, loaded_at });
                Ok(None)
            }
        }
    }

    /// Returns the key of a hash as last loaded, for use while the store is unreachable: unless it is known to have
    /// changed since, or changes have not been received for too long. Negative entries are not used, so that a valid
    /// credential is not reported as invalid because of an outage.
    pub fn get_stale(&self, hash: &SecretHash) -> Option<Arc<T>> {
        let SecretHash(hash) = hash;
        let current = self.generations.current(hash);
        let entry = self.positive.get(cache_key(hash)).filter(|entry| entry.generation >= current)?;
        self.freshness.may_serve_stale(self.freshness.instant(Instant::now())).then_some(entry.value)
    }

    /// Returns how much longer cached keys may be used while the store stays unreachable. Zero if there are none.
    pub fn stale_time_left(&self) -> Duration {
        if self.last_load.load(Ordering::Relaxed) <= self.last_invalidation.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        self.freshness.stale_time_left(self.freshness.instant(Instant::now()))
    }

    /// Increments the generation of the hash, which invalidates its entry, positive or negative. Call it after a change is
    /// committed and before its response is sent.
    pub fn invalidate(&self, hash: &SecretHash) {
        self.generations.bump(&hash.0);
    }

    /// Increments every generation, which invalidates every entry.
    pub fn invalidate_all(&self) {
        self.generations.bump_all();
        self.last_invalidation.fetch_max(self.freshness.instant(Instant::now()), Ordering::Relaxed);
    }

    fn begin_lookup(&self, hash: &[u8; 32]) -> LookupContext {
        let (generation, began_at) = (self.generations.current(hash), self.freshness.instant(Instant::now()));
        LookupContext { generation, began_at, cache_is_fresh: self.freshness.is_fresh(began_at) }
    }

    fn peek(&self, hash: &[u8; 32], lookup: LookupContext) -> Option<Option<Arc<T>>> {
        if let Some(entry) = self.positive.get(cache_key(hash))
            && self.is_valid_for(&entry, lookup)
        {
            return Some(Some(entry.value));
        }
        self.negative.get(cache_key(hash)).filter(|entry| self.is_valid_for(entry, lookup)).map(|_| None)
    }

    /// True if a lookup may use an entry. The entry must have been loaded after every change that was acknowledged
    /// before the lookup began: its generation is not lower. If it was loaded since the lookup began, that suffices. An
    /// older entry must not have exceeded the TTL, and the change feed must report the changes of other processes.
    fn is_valid_for<V>(&self, entry: &CacheEntry<V>, lookup: LookupContext) -> bool {
        let is_young = || lookup.began_at.saturating_sub(entry.loaded_at) < self.ttl;
        entry.generation >= lookup.generation
            && (entry.loaded_at >= lookup.began_at || lookup.cache_is_fresh && is_young())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    impl HeapSize for &str {
        fn heap_size(&self) -> usize {
            self.len()
        }
    }

    const HASH: SecretHash = SecretHash([7; 32]);
    const TTL: Duration = Duration::from_secs(60);

    fn config(ttl: Duration, max_staleness: Duration) -> CacheConfig {
        CacheConfig { budget: CacheBudget(1 << 20), ttl, max_staleness }
    }

    async fn look_up(cache: &KeyCache<&'static str>, stored: Option<&'static str>) -> Option<&'static str> {
        let load = async { Ok::<_, ()>(stored) };
        cache.get_or_load(&HASH, load).await.unwrap().map(|value| *value)
    }

    #[tokio::test]
    async fn get_or_load_loads_once_until_invalidated() {
        let cache = KeyCache::new(config(TTL, TTL));
        assert_eq!(look_up(&cache, Some("first")).await, Some("first"));
        assert_eq!(look_up(&cache, Some("second")).await, Some("first"));
        cache.invalidate(&HASH);
        assert_eq!(look_up(&cache, Some("second")).await, Some("second"));
        cache.invalidate_all();
        assert_eq!(look_up(&cache, Some("third")).await, Some("third"));
    }

    #[tokio::test]
    async fn get_or_load_of_an_unknown_hash_loads_once_until_a_key_is_created() {
        let cache = KeyCache::new(config(TTL, TTL));
        assert_eq!(look_up(&cache, None).await, None);
        assert_eq!(look_up(&cache, Some("created since")).await, None);
        cache.invalidate(&HASH);
        assert_eq!(look_up(&cache, Some("created since")).await, Some("created since"));
    }

    #[tokio::test]
    async fn get_or_load_loads_again_after_the_ttl() {
        let cache = KeyCache::new(config(Duration::ZERO, TTL));
        assert_eq!(look_up(&cache, Some("first")).await, Some("first"));
        assert_eq!(look_up(&cache, Some("second")).await, Some("second"));
    }

    #[tokio::test]
    async fn get_or_load_does_not_cache_an_error() {
        let cache: KeyCache<&str> = KeyCache::new(config(TTL, TTL));
        assert_eq!(cache.get_or_load(&HASH, async { Err("down") }).await.map(|_| ()), Err("down"));
        assert_eq!(look_up(&cache, Some("up")).await, Some("up"));
    }

    #[tokio::test]
    async fn get_stale_after_a_failed_load_returns_the_last_value_until_invalidated() {
        let cache: KeyCache<&str> = KeyCache::new(config(Duration::ZERO, TTL));
        assert_eq!(look_up(&cache, Some("first")).await, Some("first"));
        for _ in 0..2 {
            assert_eq!(cache.get_or_load(&HASH, async { Err("down") }).await.map(|_| ()), Err("down"));
            assert_eq!(cache.get_stale(&HASH).as_deref(), Some(&"first"));
        }
        let canceled = tokio::time::timeout(Duration::from_millis(1), cache.get_or_load(&HASH, pending()));
        assert!(canceled.await.is_err());
        assert_eq!(cache.get_stale(&HASH).as_deref(), Some(&"first"));
        cache.invalidate(&HASH);
        assert_eq!(cache.get_stale(&HASH), None);
    }

    #[tokio::test]
    async fn stale_time_is_left_while_a_key_was_loaded_since_all_were_invalidated() {
        let cache = KeyCache::new(config(TTL, TTL));
        assert_eq!(cache.stale_time_left(), Duration::ZERO);
        look_up(&cache, None).await;
        assert_eq!(cache.stale_time_left(), Duration::ZERO);
        cache.invalidate_all();
        look_up(&cache, Some("loaded")).await;
        let left = cache.stale_time_left();
        assert!(left > Duration::ZERO && left <= TTL, "{left:?}");
        cache.invalidate_all();
        assert_eq!(cache.stale_time_left(), Duration::ZERO);
    }

    async fn pending() -> Result<Option<&'static str>, ()> {
        std::future::pending().await
    }

    #[tokio::test]
    async fn get_stale_serves_what_peek_does_not_trust_without_the_change_feed() {
        let cache = KeyCache::new(config(TTL, Duration::from_secs(5)));
        assert_eq!(look_up(&cache, Some("first")).await, Some("first"));
        let later = Instant::now() + Duration::from_secs(3600);
        let at = cache.freshness.instant(later);
        let lookup =
            LookupContext { began_at: at, cache_is_fresh: cache.freshness.is_fresh(at), ..cache.begin_lookup(&HASH.0) };
        assert!(!lookup.cache_is_fresh && cache.peek(&HASH.0, lookup).is_none());
        assert!(cache.get_stale(&HASH).is_some() && !cache.freshness.may_serve_stale(at));
        cache.freshness.caught_up_to(later);
        assert!(cache.freshness.is_fresh(at));
    }

    #[tokio::test]
    async fn get_or_load_by_a_thousand_tasks_loads_once() {
        let cache = Arc::new(KeyCache::new(config(TTL, TTL)));
        let loads = Arc::new(AtomicU64::new(0));
        let lookups: Vec<_> = (0..1000)
            .map(|_| {
                let (cache, loads) = (cache.clone(), loads.clone());
                tokio::spawn(async move {
                    let load = async {
                        loads.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        Ok::<_, ()>(Some("value"))
                    };
                    cache.get_or_load(&HASH, load).await.unwrap().map(|value| *value)
                })
            })
            .collect();
        for lookup in lookups {
            assert_eq!(lookup.await.unwrap(), Some("value"));
        }
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }

    /// The load is held between the store and the insert while the key is revoked and looked up.
    #[tokio::test]
    async fn get_or_load_after_invalidation_ignores_a_load_that_was_already_reading() {
        let cache = Arc::new(KeyCache::new(config(TTL, TTL)));
        let (has_read, resume) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let loader = {
            let (cache, has_read, resume) = (cache.clone(), has_read.clone(), resume.clone());
            tokio::spawn(async move {
                let load = async {
                    let stored = Some("valid");
                    has_read.notify_one();
                    resume.notified().await;
                    Ok::<_, ()>(stored)
                };
                cache.get_or_load(&HASH, load).await.unwrap().map(|value| *value)
            })
        };
        has_read.notified().await;
        cache.invalidate(&HASH);
        // Begins after the revocation: it joins the load that is still in progress, and must not use its value.
        let lookup = {
            let cache = cache.clone();
            tokio::spawn(async move { look_up(&cache, Some("revoked")).await })
        };
        tokio::task::yield_now().await;
        resume.notify_one();
        assert_eq!(loader.await.unwrap(), Some("valid"), "began before the revocation");
        assert_eq!(lookup.await.unwrap(), Some("revoked"));
        assert_eq!(look_up(&cache, Some("not read")).await, Some("revoked"));
    }
}
