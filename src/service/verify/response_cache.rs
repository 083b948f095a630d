//! ResponseCache: serialized responses to verifications that succeed, which are the same every time.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard, Weak};

use bytes::Bytes;

use crate::service::cache::heap_size::allocated;
use crate::service::verify::cached_key::CachedKey;

/// The last responses, one per slot, bounded by bytes. A response is larger than its cached key, so that only some are
/// kept.
pub struct ResponseCache {
    slots: Box<[RwLock<Option<Entry>>]>,
    limit: usize,
    bytes: AtomicUsize,
    /// The slot that is emptied next if there is no room.
    next: AtomicUsize,
}

/// A response and the cached key that it describes.
struct Entry {
    response: Bytes,
    of: Weak<CachedKey>,
    /// What the entry occupies.
    bytes: usize,
}

const MAX_SLOTS: usize = 4096;

impl ResponseCache {
    /// An empty cache of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        // Few slots for few bytes: room is found by emptying slots in turn.
        let slots = (limit / 1024).clamp(1, MAX_SLOTS);
        Self { slots: (0..slots).map(|_| RwLock::default()).collect(), limit, bytes: 0.into(), next: 0.into() }
    }

    /// Returns the response for this cached key, rendering it if its slot holds another. A key that was loaded again
    /// is another cached key, so a response never outlives the data that it was rendered from.
    pub fn get_or_render(&self, key: &Arc<CachedKey>, render: impl FnOnce() -> String) -> Bytes {
        // The last bytes of an id are random.
        let slot = &self.slots[key.id.as_u128() as usize % self.slots.len()];
        if let Some(Entry { response, of, .. }) = &*slot.read().unwrap_or_else(PoisonError::into_inner)
            && Weak::as_ptr(of) == Arc::as_ptr(key)
        {
            return response.clone();
        }
        let response = render();
        let bytes = allocated(response.capacity()) + PER_ENTRY;
        let response = Bytes::from(response);
        if bytes <= self.limit {
            self.make_room(bytes);
            let entry = Entry { response: response.clone(), of: Arc::downgrade(key), bytes };
            self.replace(write(slot), Some(entry));
        }
        response
    }

    /// The bytes that the responses occupy.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Empties slots until the bytes fit.
    fn make_room(&self, bytes: usize) {
        for _ in 0..self.slots.len() {
            if self.bytes() + bytes <= self.limit {
                return;
            }
            let slot = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
            self.replace(write(&self.slots[slot]), None);
        }
    }

    fn replace(&self, mut slot: RwLockWriteGuard<'_, Option<Entry>>, entry: Option<Entry>) {
        let size = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.bytes);
        self.bytes.fetch_add(size(&entry), Ordering::Relaxed);
        let previous = mem::replace(&mut *slot, entry);
        self.bytes.fetch_sub(size(&previous), Ordering::Relaxed);
    }
}

/// The counts of shared [`Bytes`], and the allocation of the cached key, which stays while anything points to it.
const PER_ENTRY: usize = 32 + CachedKey::ALLOCATION;

fn write<T>(slot: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    slot.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metadata::Metadata;
    use crate::service::verify::cached_key::tests::cached_key;

    fn key() -> Arc<CachedKey> {
        Arc::new(cached_key(Metadata::default(), None, None))
    }

    #[test]
    fn get_or_render_renders_once_per_load_of_the_key() {
        let responses = ResponseCache::new(1 << 20);
        let first = key();
        let mut again = cached_key(Metadata::default(), None, None);
        again.id = first.id;
        let again = Arc::new(again);
        let get = |key, text: &'static str| responses.get_or_render(key, || text.to_owned());
        assert_eq!(get(&first, "first"), "first");
        assert_eq!(get(&first, "not rendered"), "first");
        assert_eq!(get(&again, "again"), "again");
        assert_eq!(get(&again, "not rendered"), "again");
        assert_eq!(get(&first, "first, later"), "first, later");
    }

    #[test]
    fn get_or_render_stays_within_the_limit() {
        let responses = ResponseCache::new(64 << 10);
        let keys: Vec<_> = (0..1000).map(|_| key()).collect();
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(responses.get_or_render(key, || "x".repeat(n * 20)).len(), n * 20);
            assert!(responses.bytes() <= 64 << 10);
        }
        let last = keys.last().unwrap();
        assert!(responses.bytes() > 19_980);
        assert_eq!(responses.get_or_render(last, || "again".to_owned()).len(), 19_980, "is kept");
        assert_eq!(responses.get_or_render(&key(), || "x".repeat(70 << 10)).len(), 70 << 10);
        assert!(responses.bytes() <= 64 << 10, "what is larger than all is not kept");
    }

    #[test]
    fn get_or_render_without_a_limit_of_bytes_keeps_nothing() {
        let responses = ResponseCache::new(0);
        let key = key();
        assert_eq!(responses.get_or_render(&key, || "one".to_owned()), "one");
        assert_eq!(responses.get_or_render(&key, || "two".to_owned()), "two");
        assert_eq!(responses.bytes(), 0);
    }
}
