//! A model of the cache's generations: every interleaving of loads and a revocation, one by one (loom).

#![cfg(test)]

mod atomic {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../../src/service/cache/generations.rs"]
mod generations;

use atomic::Ordering;
use generations::{Generation, GenerationTable};
use loom::sync::atomic::AtomicBool;
use loom::sync::{Arc, Mutex};

const HASH: [u8; 32] = [0; 32];

struct World {
    generations: GenerationTable,
    /// The store: true once the key is revoked.
    revoked: AtomicBool,
    /// The cache: what was loaded, and the generation taken before.
    entry: Mutex<Option<(bool, Generation)>>,
}

impl World {
    fn new() -> Arc<Self> {
        let generations = GenerationTable::new(1);
        Arc::new(Self { generations, revoked: AtomicBool::new(false), entry: Mutex::new(None) })
    }

    fn load(&self) {
        let generation = self.generations.current(&HASH);
        let revoked = self.revoked.load(Ordering::Acquire);
        *self.entry.lock().unwrap() = Some((revoked, generation));
    }

    fn revoke(&self, bump: fn(&GenerationTable)) {
        self.revoked.store(true, Ordering::Release);
        bump(&self.generations);
    }

    /// The cached value, if a lookup that begins now may use it.
    fn look_up(&self) -> Option<bool> {
        let current = self.generations.current(&HASH);
        self.entry.lock().unwrap().filter(|(_, generation)| *generation >= current).map(|(revoked, _)| revoked)
    }
}

/// Checks every interleaving in which no thread is preempted more than three times.
fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(check);
}

fn assert_no_stale_lookup_after(bump: fn(&GenerationTable)) {
    model(move || {
        let world = World::new();
        let loads: Vec<_> = (0..2)
            .map(|_| {
                let world = world.clone();
                loom::thread::spawn(move || world.load())
            })
            .collect();
        world.revoke(bump);
        assert_ne!(world.look_up(), Some(false), "a lookup used an entry from before the revocation");
        loads.into_iter().for_each(|load| load.join().unwrap());
        assert_ne!(world.look_up(), Some(false), "a load that was already reading restored the key");
    });
}

#[test]
fn bump_after_a_revocation_hides_every_earlier_load() {
    assert_no_stale_lookup_after(|generations| generations.bump(&HASH));
}

#[test]
fn bump_all_after_a_revocation_hides_every_earlier_load() {
    assert_no_stale_lookup_after(GenerationTable::bump_all);
}

#[test]
fn look_up_uses_an_entry_loaded_after_the_last_change() {
    model(|| {
        let world = World::new();
        world.revoke(|generations| generations.bump(&HASH));
        world.load();
        assert_eq!(world.look_up(), Some(true));
    });
}
