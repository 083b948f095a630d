//! Entry: what the cache's maps hold, and under which key.

use std::hash::{BuildHasherDefault, Hasher};

use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle, PlaceholderGuard};

use crate::service::cache::freshness::CacheInstant;
use crate::service::cache::generations::Generation;
use crate::service::cache::heap_size::HeapSize;

/// The last 16 bytes of the keyed hash of a secret. The whole hash would make an entry a fifth larger. 128 bits do not
/// collide by chance, and a client that does not know the pepper cannot construct a collision.
pub type CacheKey = [u8; 16];

/// Returns the key under which a hash is cached.
pub fn cache_key(hash: &[u8; 32]) -> &CacheKey {
    hash.last_chunk().expect("16 is less than 32")
}

/// A map from keyed hashes, bounded by bytes.
pub type HashMapCache<T> = Cache<CacheKey, T, ByteWeigher, BuildHasherDefault<PrefixHasher>>;

/// An empty map whose entries occupy at most `bytes`. It grows as entries are inserted.
pub fn hash_map_cache<T: HeapSize + Clone>(bytes: usize) -> HashMapCache<T> {
    // Decides the number of shards, each of which must have room for the largest entry, and how many keys are remembered
    // after their eviction.
    let entries = (bytes / 512).min(1024);
    Cache::with(entries, bytes as u64, ByteWeigher, BuildHasherDefault::default(), DefaultLifecycle::default())
}

/// Weighs an entry by the bytes that it occupies.
#[derive(Debug, Clone)]
pub struct ByteWeigher;

impl<T: HeapSize> Weighter<CacheKey, T> for ByteWeigher {
    fn weight(&self, _key: &CacheKey, value: &T) -> u64 {
        // quick_cache keeps a state and a list's links beside key and value, and finds them through a table of 5 bytes a
        // bucket, of which about half are empty.
        const SLOT: usize = 16 + 10;
        (size_of::<(CacheKey, T)>() + SLOT + value.heap_size()) as u64
    }
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

impl<T: HeapSize> HeapSize for CacheEntry<T> {
    fn heap_size(&self) -> usize {
        self.value.heap_size()
    }
}

type Placeholder<'a, E> =
    PlaceholderGuard<'a, CacheKey, E, ByteWeigher, BuildHasherDefault<PrefixHasher>, DefaultLifecycle<CacheKey, E>>;

/// Holds the placeholder of an entry while its value is loaded. On drop it replaces the placeholder by the loaded entry
/// ([`fill`](Self::fill)), by no entry ([`clear`](Self::clear)), or, if neither was called because the load failed or was
/// canceled, by the previous entry. So a failed load does not cost the entry that an outage falls back to.
pub struct FillGuard<'a, T: HeapSize + Clone> {
    placeholder: Option<Placeholder<'a, CacheEntry<T>>>,
    fallback: Option<CacheEntry<T>>,
}

impl<'a, T: HeapSize + Clone> FillGuard<'a, T> {
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

impl<T: HeapSize + Clone> Drop for FillGuard<'_, T> {
    fn drop(&mut self) {
        if let (Some(placeholder), Some(entry)) = (self.placeholder.take(), self.fallback.take()) {
            // Fails if the placeholder was evicted meanwhile; then the next lookup loads again.
            let _ = placeholder.insert(entry);
        }
    }
}

/// Returns the first eight bytes of a [`CacheKey`] as its hash. They need no further hashing: they come from a keyed hash,
/// so they are uniform, and a client that does not know the pepper cannot choose secrets that collide.
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
