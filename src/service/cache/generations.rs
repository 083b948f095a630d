//! Generations: how the cache knows that an entry was loaded before a change.
//!
//! Each hash has a generation, shared with a few others. A change bumps it after its commit and before its response or
//! event is sent. A load takes the generation before it reads the store and keeps it with the entry. An entry satisfies a
//! lookup only if its generation is not below the one that the lookup saw when it began: then it was loaded after every
//! change that had finished by that time. So neither the order of a load and a change matters, nor where either is
//! interrupted: a load that was already reading may insert its entry late, and no lookup will use it.

// The model in tests/model checks all interleavings of this very file over another kind of atomics.
use super::atomic::{AtomicU64, Ordering};

/// The generations of all hashes.
pub struct GenerationTable(Box<[AtomicU64]>);

/// The number of changes that were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u64);

impl GenerationTable {
    /// A table of `count` generations, a power of two. A change invalidates the entries of all hashes that share its
    /// generation; they are loaded again.
    pub fn new(count: usize) -> Self {
        assert!(count.is_power_of_two());
        Self((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    /// The generation of a hash.
    pub fn current(&self, hash: &[u8; 32]) -> Generation {
        Generation(self.slot(hash).load(Ordering::Acquire))
    }

    /// Marks the entries of a hash as outdated.
    pub fn bump(&self, hash: &[u8; 32]) {
        self.slot(hash).fetch_add(1, Ordering::AcqRel);
    }

    /// Marks all entries as outdated.
    pub fn bump_all(&self) {
        for generation in &self.0 {
            generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn slot(&self, hash: &[u8; 32]) -> &AtomicU64 {
        // A hash begins with a time; the keyed bytes after it are uniform.
        let index = usize::from(hash[30]) << 8 | usize::from(hash[31]);
        &self.0[index & (self.0.len() - 1)]
    }
}
