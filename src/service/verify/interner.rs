//! Interner: keeps equal values in memory once.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::service::cache::heap_size::HeapSize;

/// Returns one shared copy of equal values. Many cached keys have the same owner and the same scopes, and so point to one
/// copy. Copies that nothing else points to are freed from time to time, by [`free_unused`](Self::free_unused).
pub struct Interner<T> {
    /// Several, so that freeing the unused values of one delays lookups in no other.
    shards: [Mutex<HashSet<Arc<T>>>; SHARDS],
    hasher: RandomState,
    bytes: AtomicUsize,
}

const SHARDS: usize = 64;

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new(), bytes: 0.into() }
    }
}

impl<T: Hash + Eq + HeapSize> Interner<T> {
    /// Returns the shared copy of the value.
    pub fn intern(&self, value: T) -> Arc<T> {
        let shard = &self.shards[self.hasher.hash_one(&value) as usize % SHARDS];
        let mut values = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = values.get(&value) {
            return shared.clone();
        }
        let value = Arc::new(value);
        self.bytes.fetch_add(bytes(&value), Ordering::Relaxed);
        values.insert(value.clone());
        value
    }

    /// Frees the values that nothing else points to.
    pub fn free_unused(&self) {
        for shard in &self.shards {
            let mut values = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let mut freed = 0;
            values.retain(|value| {
                let used = Arc::strong_count(value) > 1;
                freed += if used { 0 } else { bytes(value) };
                used
            });
            self.bytes.fetch_sub(freed, Ordering::Relaxed);
            if values.capacity() > 4 * values.len() {
                let room = 2 * values.len();
                values.shrink_to(room);
            }
        }
    }

    /// The bytes that the values occupy.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

fn bytes<T: HeapSize>(value: &Arc<T>) -> usize {
    // The set has a pointer and a byte for each bucket, of which about half are empty.
    const SLOT: usize = 18;
    SLOT + value.heap_size()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl HeapSize for String {
        fn heap_size(&self) -> usize {
            self.as_str().heap_size()
        }
    }

    #[test]
    fn intern_shares_equal_values_and_frees_unused_ones() {
        let interner = Interner::default();
        let first = interner.intern("first".to_owned());
        let bytes_of_one = interner.bytes();
        assert!(Arc::ptr_eq(&first, &interner.intern("first".to_owned())));
        assert_eq!(interner.bytes(), bytes_of_one);
        let others: Vec<_> = (0..1000).map(|n| interner.intern(n.to_string())).collect();
        interner.free_unused();
        assert!(interner.bytes() > 1000 * bytes_of_one);
        drop(others);
        interner.free_unused();
        assert_eq!(interner.bytes(), bytes_of_one);
        assert!(Arc::ptr_eq(&first, &interner.intern("first".to_owned())));
        drop(first);
        interner.free_unused();
        assert_eq!(interner.bytes(), 0);
    }
}
