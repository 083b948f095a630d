//! A model of the cache's stamps: every interleaving of fills and a revocation, one by one (loom).

#![cfg(test)]

mod atomic {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../../src/service/cache/generations.rs"]
mod stamps;

use atomic::Ordering;
use loom::sync::atomic::AtomicBool;
use loom::sync::{Arc, Mutex};
use stamps::{Stamp, Stamps};

const HASH: [u8; 32] = [0; 32];

struct World {
    stamps: Stamps,
    /// The store: whether the key is revoked.
    revoked: AtomicBool,
    /// The cache: what was read, and the stamp taken before.
    entry: Mutex<Option<(bool, Stamp)>>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self { stamps: Stamps::new(1), revoked: AtomicBool::new(false), entry: Mutex::new(None) })
    }

    fn fill(&self) {
        let stamp = self.stamps.now(&HASH);
        let revoked = self.revoked.load(Ordering::Acquire);
        *self.entry.lock().unwrap() = Some((revoked, stamp));
    }

    fn revoke(&self, raise: fn(&Stamps)) {
        self.revoked.store(true, Ordering::Release);
        raise(&self.stamps);
    }

    /// What the cache answers, if it may.
    fn ask(&self) -> Option<bool> {
        let asked = self.stamps.now(&HASH);
        self.entry.lock().unwrap().filter(|(_, stamp)| *stamp >= asked).map(|(revoked, _)| revoked)
    }
}

/// Every interleaving in which no thread is interrupted more than three times.
fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(check);
}

fn no_interleaving_answers_from_before(raise: fn(&Stamps)) {
    model(move || {
        let world = World::new();
        let fills: Vec<_> = (0..2)
            .map(|_| {
                let world = world.clone();
                loom::thread::spawn(move || world.fill())
            })
            .collect();
        world.revoke(raise);
        assert_ne!(world.ask(), Some(false), "an entry from before the revocation was taken");
        fills.into_iter().for_each(|fill| fill.join().unwrap());
        assert_ne!(world.ask(), Some(false), "a fill that was already reading put the key back");
    });
}

#[test]
fn after_a_revocation_no_fill_answers_from_before_it() {
    no_interleaving_answers_from_before(|stamps| stamps.raise(&HASH));
}

#[test]
fn after_a_change_whose_place_is_not_known_no_fill_answers_from_before_it() {
    no_interleaving_answers_from_before(Stamps::raise_all);
}

#[test]
fn an_entry_that_was_read_after_the_last_change_is_taken() {
    model(|| {
        let world = World::new();
        world.revoke(|stamps| stamps.raise(&HASH));
        world.fill();
        assert_eq!(world.ask(), Some(true));
    });
}
