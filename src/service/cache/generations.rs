//! Stamps: how a cache knows that what it holds was read before a change.
//!
//! Each hash has a stamp, shared with a few others. Whoever changes what a hash stands for raises its stamp, after the
//! change is committed and before anybody is told. Whoever reads the store takes the stamp first and keeps it with what
//! was read. An entry is good for a question only if its stamp is not below the one in force when the question came:
//! then it was read after every change that was finished by that time. So it does not matter in which order a fill and
//! a change run, nor where either is interrupted: a fill that was already reading may put its entry back, and nobody
//! will take it.

// The model of all interleavings, in tests/model, is made of this very file over another kind of atomics.
use super::atomic::{AtomicU64, Ordering};

pub struct Stamps(Box<[AtomicU64]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamps {
    /// `count` is a power of two. A change spoils the entries of all hashes that share a stamp: they are read again.
    pub fn new(count: usize) -> Self {
        assert!(count.is_power_of_two());
        Self((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn now(&self, hash: &[u8; 32]) -> Stamp {
        Stamp(self.of(hash).load(Ordering::Acquire))
    }

    pub fn raise(&self, hash: &[u8; 32]) {
        self.of(hash).fetch_add(1, Ordering::AcqRel);
    }

    /// For a change whose place is not known.
    pub fn raise_all(&self) {
        for stamp in &self.0 {
            stamp.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn of(&self, hash: &[u8; 32]) -> &AtomicU64 {
        // It begins with a time; the keyed bytes after it are uniform.
        let index = usize::from(hash[30]) << 8 | usize::from(hash[31]);
        &self.0[index & (self.0.len() - 1)]
    }
}
