//! Cache: what is known of the keys that were asked about lately, in memory.
//!
//! Two pools, so that whoever asks for keys that do not exist pushes out none that do: known keys, a million unless told
//! otherwise, and a small one of hashes that stand for nothing. Both are bounded by entries and by age; what makes an
//! entry untrue at once is in [`stamps`], and what becomes of all when changes are not heard of, in [`freshness`].
//!
//! quick_cache, because with a million entries it took 460 ns a look-up and 106 bytes an entry beside its value, where
//! moka took 1670 ns and 368 bytes (two cores, both with the hasher below), and because one fill serves all who wait.

mod freshness;
mod generations;

mod atomic {
    pub use std::sync::atomic::{AtomicU64, Ordering};
}

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freshness::{Freshness, Moment, nanos};
use generations::{Stamp, Stamps};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle, PlaceholderGuard};

use crate::domain::secret_hash::SecretHash;

/// The later half of a keyed hash: nobody can find two that end alike, and the other half would be a fifth of an entry.
pub type Half = [u8; 16];

pub fn half(hash: &[u8; 32]) -> &Half {
    hash.last_chunk().expect("16 is less than 32")
}

/// What is known by a keyed hash.
pub type Pool<T> = Cache<Half, T, UnitWeighter, BuildHasherDefault<FirstBytes>>;

pub struct KeyCache<T> {
    known: Pool<Entry<Arc<T>>>,
    unknown: Pool<Entry<()>>,
    stamps: Stamps,
    /// In nanoseconds.
    ttl: u64,
    freshness: Freshness,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// A question, by when it came and what was known of changes then.
#[derive(Clone, Copy)]
struct Asked {
    stamp: Stamp,
    at: Moment,
    trusts_memory: bool,
}

#[derive(Clone)]
struct Entry<T> {
    value: T,
    stamp: Stamp,
    read_at: Moment,
}

/// How many hashes that stand for nothing are remembered.
const UNKNOWN: usize = 10_000;
/// A few bytes each; with a million entries a change spoils about fifteen others.
const STAMPS: usize = 1 << 16;

impl<T> KeyCache<T> {
    pub fn new(capacity: usize, ttl: Duration, max_staleness: Duration) -> Self {
        Self {
            known: pool(capacity),
            unknown: pool(UNKNOWN),
            stamps: Stamps::new(STAMPS),
            ttl: nanos(ttl),
            freshness: Freshness::new(max_staleness),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// What the hash stands for, if that is in memory; the inner `None` is a hash that stands for nothing.
    pub fn get(&self, hash: &SecretHash) -> Option<Option<Arc<T>>> {
        let remembered = self.remembered(&hash.0, self.asked(&hash.0));
        let counter = if remembered.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        remembered
    }

    /// How often [`get`](Self::get) knew.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// How often it did not.
    pub fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// How many entries of each kind there are.
    pub fn entries(&self) -> [(&'static str, usize); 2] {
        [("known", self.known.len()), ("unknown", self.unknown.len())]
    }

    /// The same, read by `read` if need be: one such future is polled for all who ask at the same time. An error is
    /// remembered by nobody.
    pub async fn get_or_read<E>(
        &self,
        hash: &SecretHash,
        read: impl Future<Output = Result<Option<T>, E>>,
    ) -> Result<Option<Arc<T>>, E> {
        let SecretHash(hash) = hash;
        let asked = self.asked(hash);
        if let Some(remembered) = self.remembered(hash, asked) {
            return Ok(remembered);
        }
        loop {
            let before = self.known.get(half(hash));
            self.known.remove_if(half(hash), |entry| !self.is_good(entry, asked));
            match self.known.get_value_or_guard_async(half(hash)).await {
                // Another's fill, which may have begun before a change that was finished when we asked.
                Ok(entry) if self.is_good(&entry, asked) => return Ok(Some(entry.value)),
                Ok(_) => {}
                Err(place) => {
                    let mut place = Place { place: Some(place), before };
                    let (stamp, read_at) = (self.stamps.now(hash), self.freshness.moment(Instant::now()));
                    // Someone may have found out while we waited for the place.
                    if let Some(entry) = self.unknown.get(half(hash))
                        && self.is_good(&entry, asked)
                    {
                        return Ok(None);
                    }
                    let Some(value) = read.await? else {
                        place.before = None;
                        self.unknown.insert(*half(hash), Entry { value: (), stamp, read_at });
                        return Ok(None);
                    };
                    let value = Arc::new(value);
                    place.before = Some(Entry { value: value.clone(), stamp, read_at });
                    return Ok(Some(value));
                }
            }
        }
    }

    /// What the hash stood for when it was last read, for when the store cannot be asked. Not when it is known to have
    /// changed since, nor when changes have not been heard of for too long. That a hash stood for nothing is no answer: a
    /// good credential must not look bad because of an outage.
    pub fn recall(&self, hash: &SecretHash) -> Option<Arc<T>> {
        let SecretHash(hash) = hash;
        let entry = self.known.get(half(hash)).filter(|entry| entry.stamp >= self.stamps.now(hash))?;
        self.freshness.may_stand_in(self.freshness.moment(Instant::now())).then_some(entry.value)
    }

    /// Whether asking the store is known to be in vain.
    pub fn is_cut_off(&self) -> bool {
        self.freshness.is_cut_off()
    }

    /// To be called when all changes that were committed before this moment have been heard of.
    pub fn heard_until(&self, moment: Instant) {
        self.freshness.heard_until(moment);
    }

    /// To be called when changes cannot be heard of, with whether the store can be asked.
    pub fn store_answers(&self, answers: bool) {
        self.freshness.store_answers(answers);
    }

    pub fn lag(&self) -> Duration {
        self.freshness.lag()
    }

    /// To be called after a change of what the hash stands for is committed, and before anybody is told of it.
    pub fn changed(&self, hash: &SecretHash) {
        self.stamps.raise(&hash.0);
    }

    /// The same, when somebody else made the change and did not say which.
    pub fn changed_somewhere(&self) {
        self.stamps.raise_all();
    }

    fn asked(&self, hash: &[u8; 32]) -> Asked {
        let (stamp, at) = (self.stamps.now(hash), self.freshness.moment(Instant::now()));
        Asked { stamp, at, trusts_memory: self.freshness.is_trusted(at) }
    }

    fn remembered(&self, hash: &[u8; 32], asked: Asked) -> Option<Option<Arc<T>>> {
        if let Some(entry) = self.known.get(half(hash))
            && self.is_good(&entry, asked)
        {
            return Some(Some(entry.value));
        }
        self.unknown.get(half(hash)).filter(|entry| self.is_good(entry, asked)).map(|_| None)
    }

    fn is_good<V>(&self, entry: &Entry<V>, asked: Asked) -> bool {
        let is_young = || asked.at.saturating_sub(entry.read_at) < self.ttl;
        entry.stamp >= asked.stamp && (entry.read_at >= asked.at || asked.trusts_memory && is_young())
    }
}

type Guard<'a, E> =
    PlaceholderGuard<'a, Half, E, UnitWeighter, BuildHasherDefault<FirstBytes>, DefaultLifecycle<Half, E>>;

/// The place of an entry that is being read. What it is left with is put there, also when the reading fails or is given
/// up: until then, what was there before.
struct Place<'a, T> {
    place: Option<Guard<'a, Entry<Arc<T>>>>,
    before: Option<Entry<Arc<T>>>,
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        if let (Some(place), Some(entry)) = (self.place.take(), self.before.take()) {
            // Refused when the place was taken away meanwhile; then the next one who asks reads again.
            let _ = place.insert(entry);
        }
    }
}

pub fn pool<T: Clone>(capacity: usize) -> Pool<T> {
    // Room is made as entries come, not for all of them at the start.
    let estimated = capacity.min(1024);
    Cache::with(estimated, capacity as u64, UnitWeighter, BuildHasherDefault::default(), DefaultLifecycle::default())
}

/// The keys of the map are keyed hashes already: uniform, and not to be chosen by an attacker.
#[derive(Default)]
pub struct FirstBytes(u64);

impl Hasher for FirstBytes {
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

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    const HASH: SecretHash = SecretHash([7; 32]);
    const TTL: Duration = Duration::from_secs(60);

    async fn ask(cache: &KeyCache<&'static str>, found: Option<&'static str>) -> Option<&'static str> {
        let read = async { Ok::<_, ()>(found) };
        cache.get_or_read(&HASH, read).await.unwrap().map(|value| *value)
    }

    #[tokio::test]
    async fn what_was_read_once_is_answered_from_memory_until_it_changes() {
        let cache = KeyCache::new(10, TTL, TTL);
        assert_eq!(ask(&cache, Some("first")).await, Some("first"));
        assert_eq!(ask(&cache, Some("second")).await, Some("first"));
        cache.changed(&HASH);
        assert_eq!(ask(&cache, Some("second")).await, Some("second"));
        cache.changed_somewhere();
        assert_eq!(ask(&cache, Some("third")).await, Some("third"));
    }

    #[tokio::test]
    async fn an_unknown_hash_is_remembered_until_a_key_is_made_of_it() {
        let cache = KeyCache::new(10, TTL, TTL);
        assert_eq!(ask(&cache, None).await, None);
        assert_eq!(ask(&cache, Some("made since")).await, None);
        cache.changed(&HASH);
        assert_eq!(ask(&cache, Some("made since")).await, Some("made since"));
    }

    #[tokio::test]
    async fn what_is_too_old_is_read_again() {
        let cache = KeyCache::new(10, Duration::ZERO, TTL);
        assert_eq!(ask(&cache, Some("first")).await, Some("first"));
        assert_eq!(ask(&cache, Some("second")).await, Some("second"));
    }

    #[tokio::test]
    async fn an_error_is_remembered_by_nobody() {
        let cache: KeyCache<&str> = KeyCache::new(10, TTL, TTL);
        assert_eq!(cache.get_or_read(&HASH, async { Err("down") }).await.map(|_| ()), Err("down"));
        assert_eq!(ask(&cache, Some("up")).await, Some("up"));
    }

    #[tokio::test]
    async fn an_outage_leaves_what_was_last_known_to_be_recalled_until_it_changes() {
        let cache: KeyCache<&str> = KeyCache::new(10, Duration::ZERO, TTL);
        assert_eq!(ask(&cache, Some("first")).await, Some("first"));
        for _ in 0..2 {
            assert_eq!(cache.get_or_read(&HASH, async { Err("down") }).await.map(|_| ()), Err("down"));
            assert_eq!(cache.recall(&HASH).as_deref(), Some(&"first"));
        }
        let given_up = tokio::time::timeout(Duration::from_millis(1), cache.get_or_read(&HASH, pending()));
        assert!(given_up.await.is_err());
        assert_eq!(cache.recall(&HASH).as_deref(), Some(&"first"));
        cache.changed(&HASH);
        assert_eq!(cache.recall(&HASH), None);
    }

    async fn pending() -> Result<Option<&'static str>, ()> {
        std::future::pending().await
    }

    #[tokio::test]
    async fn while_changes_are_not_heard_of_the_store_is_asked_each_time_and_memory_stands_in_within_its_limit() {
        let cache = KeyCache::new(10, TTL, Duration::from_secs(5));
        assert_eq!(ask(&cache, Some("first")).await, Some("first"));
        let later = Instant::now() + Duration::from_secs(3600);
        let at = cache.freshness.moment(later);
        let asked = Asked { at, trusts_memory: cache.freshness.is_trusted(at), ..cache.asked(&HASH.0) };
        assert!(!asked.trusts_memory && cache.remembered(&HASH.0, asked).is_none());
        assert!(cache.recall(&HASH).is_some() && !cache.freshness.may_stand_in(at));
        cache.heard_until(later);
        assert!(cache.freshness.is_trusted(at));
    }

    #[tokio::test]
    async fn a_thousand_who_ask_at_once_share_one_reading() {
        let cache = Arc::new(KeyCache::new(10, TTL, TTL));
        let readings = Arc::new(AtomicU64::new(0));
        let askers: Vec<_> = (0..1000)
            .map(|_| {
                let (cache, readings) = (cache.clone(), readings.clone());
                tokio::spawn(async move {
                    let read = async {
                        readings.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        Ok::<_, ()>(Some("value"))
                    };
                    cache.get_or_read(&HASH, read).await.unwrap().map(|value| *value)
                })
            })
            .collect();
        for asker in askers {
            assert_eq!(asker.await.unwrap(), Some("value"));
        }
        assert_eq!(readings.load(Ordering::SeqCst), 1);
    }

    /// The read is held between the store and the insert while the key is revoked and asked about.
    #[tokio::test]
    async fn a_fill_that_was_already_reading_brings_no_revoked_key_back() {
        let cache = Arc::new(KeyCache::new(10, TTL, TTL));
        let (has_read, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let filler = {
            let (cache, has_read, go_on) = (cache.clone(), has_read.clone(), go_on.clone());
            tokio::spawn(async move {
                let read = async {
                    let before = Some("good");
                    has_read.notify_one();
                    go_on.notified().await;
                    Ok::<_, ()>(before)
                };
                cache.get_or_read(&HASH, read).await.unwrap().map(|value| *value)
            })
        };
        has_read.notified().await;
        cache.changed(&HASH);
        // Asked after the revocation was answered: it joins the fill that is still under way, and must not believe it.
        let asker = {
            let cache = cache.clone();
            tokio::spawn(async move { ask(&cache, Some("revoked")).await })
        };
        tokio::task::yield_now().await;
        go_on.notify_one();
        assert_eq!(filler.await.unwrap(), Some("good"), "asked before the revocation was answered");
        assert_eq!(asker.await.unwrap(), Some("revoked"));
        assert_eq!(ask(&cache, Some("not read")).await, Some("revoked"));
    }
}
