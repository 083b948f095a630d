//! ResponseCache: serialized responses to verifications that succeed, which are the same every time.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::service::verify::cached_key::CachedKey;

/// The last responses, one per slot. A response is larger than its cached key, so that only some are kept.
pub struct ResponseCache(Box<[RwLock<Option<Slot>>]>);

/// A response and the cached key that it describes.
type Slot = (Bytes, Arc<CachedKey>);

const SLOTS: usize = 4096;

impl Default for ResponseCache {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| RwLock::default()).collect())
    }
}

impl ResponseCache {
    /// Returns the response for this cached key, rendering it if its slot holds another. A key that was loaded again
    /// is another cached key, so a response never outlives the data that it was rendered from.
    pub fn get_or_render(&self, key: &Arc<CachedKey>, render: impl FnOnce() -> Bytes) -> Bytes {
        // The last bytes of an id are random.
        let slot = &self.0[key.id.as_u128() as usize % self.0.len()];
        if let Some((response, of)) = &*slot.read().unwrap_or_else(PoisonError::into_inner)
            && Arc::ptr_eq(of, key)
        {
            return response.clone();
        }
        let response = render();
        *slot.write().unwrap_or_else(PoisonError::into_inner) = Some((response.clone(), key.clone()));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::metadata::Metadata;
    use crate::service::verify::cached_key::tests::cached_key;

    #[test]
    fn get_or_render_renders_once_per_load_of_the_key() {
        let responses = ResponseCache::default();
        let first = Arc::new(cached_key(Metadata::default(), None, None));
        let mut again = cached_key(Metadata::default(), None, None);
        again.id = first.id;
        let again = Arc::new(again);
        let get = |key, text: &'static str| responses.get_or_render(key, || Bytes::from_static(text.as_bytes()));
        assert_eq!(get(&first, "first"), "first");
        assert_eq!(get(&first, "not rendered"), "first");
        assert_eq!(get(&again, "again"), "again");
        assert_eq!(get(&first, "first, later"), "first, later");
    }
}
