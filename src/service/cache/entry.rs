//! Entry: what the cache's maps hold, and under which key.

use std::hash::{BuildHasherDefault, Hasher};

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle, PlaceholderGuard};

use crate::service::cache::freshness::CacheInstant;
use crate::service::cache::generations::Generation;

/// The second half of a keyed hash. Collisions cannot be constructed without the key, and the whole hash would make an
/// entry a fifth larger.
pub type CacheKey = [u8; 16];

/// Returns the key under which a hash is cached.
pub fn cache_key(hash: &[u8; 32]) -> &CacheKey {
    hash.last_chunk().expect("16 is less than 32")
}

/// A bounded map from keyed hashes.
pub type HashMapCache<T> = Cache<CacheKey, T, UnitWeighter, BuildHasherDefault<PrefixHasher>>;

/// An empty map of at most `capacity` entries. It grows as entries are inserted.
pub fn hash_map_cache<T: Clone>(capacity: usize) -> HashMapCache<T> {
    let initial = capacity.min(1024);
    Cache::with(initial, capacity as u64, UnitWeighter, BuildHasherDefault::default(), DefaultLifecycle::default())
}

/// A value with what decides whether a lookup may use it.
#[derive(Clone)]
pub struct CacheEntry<T> {
    pub value: T,
    /// Taken before the value was read.
    pub generation: Generation,
    /// When reading the value began.
    pub loaded_at: CacheInstant,
}

type Placeholder<'a, E> =
    PlaceholderGuard<'a, CacheKey, E, UnitWeighter, BuildHasherDefault<PrefixHasher>, DefaultLifecycle<CacheKey, E>>;

/// The place of an entry that is being loaded. On drop it inserts the fallback, also when the load failed or was
/// canceled: the previous entry until [`fill`](Self::fill) or [`clear`](Self::clear) is called.
pub struct FillGuard<'a, T: Clone> {
    placeholder: Option<Placeholder<'a, CacheEntry<T>>>,
    fallback: Option<CacheEntry<T>>,
}

impl<'a, T: Clone> FillGuard<'a, T> {
    /// Guards a placeholder that replaced the entry `previous`.
    pub fn new(placeholder: Placeholder<'a, CacheEntry<T>>, previous: Option<CacheEntry<T>>) -> Self {
        Self { placeholder: Some(placeholder), fallback: previous }
    }

    /// Inserts this entry instead of the previous one.
    pub fn fill(mut self, entry: CacheEntry<T>) {
        self.fallback = Some(entry);
    }

    /// Leaves no entry.
    pub fn clear(mut self) {
        self.fallback = None;
    }
}

impl<T: Clone> Drop for FillGuard<'_, T> {
    fn drop(&mut self) {
        if let (Some(placeholder), Some(entry)) = (self.placeholder.take(), self.fallback.take()) {
            // Fails if the placeholder was evicted meanwhile; then the next lookup loads again.
            let _ = placeholder.insert(entry);
        }
    }
}

/// Uses the first bytes of the key as its hash: keys are keyed hashes already, which are uniform and which an attacker
/// cannot choose.
#[derive(Default)]
pub struct PrefixHasher(u64);

impl Hasher for PrefixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}
