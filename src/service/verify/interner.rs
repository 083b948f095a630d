//! Interner: keeps equal values in memory once.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Returns one shared copy of equal values. Many cached keys have the same owner and the same scopes, and so point to one
/// copy. Copies that nothing else points to are removed when the set is about to grow.
pub struct Interner<T>(Mutex<HashSet<Arc<T>>>);

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Hash + Eq> Interner<T> {
    /// Returns the shared copy of the value.
    pub fn intern(&self, value: T) -> Arc<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = values.get(&value) {
            return shared.clone();
        }
        if values.len() == values.capacity() {
            values.retain(|value| Arc::strong_count(value) > 1);
            // Doubles the capacity, so that the cost of looking for unused values is amortized.
            let used = values.len();
            values.reserve(used);
        }
        let value = Arc::new(value);
        values.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intern_shares_equal_values_and_drops_unused_ones() {
        let interner = Interner::default();
        let first = interner.intern("first".to_owned());
        assert!(Arc::ptr_eq(&first, &interner.intern("first".to_owned())));
        for n in 0..1000 {
            interner.intern(n.to_string());
        }
        let values = interner.0.lock().unwrap();
        assert!(values.contains(&first) && values.len() < 10, "{}", values.len());
    }
}
