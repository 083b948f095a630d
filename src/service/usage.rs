//! Usage: when secrets were last used, and how often keys were asked about, by day and verdict.
//!
//! Counted in memory on the way of a verify, which takes an atomic addition, and written behind its back: the first use
//! within a few seconds, then at most once a minute a key, and all that is left at shutdown. A crash loses what was not
//! yet written, at most a minute of counts; it never loses a verdict.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use super::verify::KnownKey;
use super::{Service, ServiceError};
use crate::domain::verdict::Verdict;
use crate::store::{KeyUse, Reach};

/// How often the counts of one key are written.
const WRITTEN_EVERY: TimeDelta = TimeDelta::minutes(1);

/// What was counted for one secret since it was last written.
pub struct Tally {
    key_id: Uuid,
    secret_id: Uuid,
    /// By the order of [`Verdict::ALL`].
    counts: [AtomicU32; Verdict::ALL.len()],
    /// Microseconds since the epoch; zero when not used since.
    used_at: AtomicI64,
    written_at: AtomicI64,
    waiting: AtomicBool,
}

impl Tally {
    pub fn new(key_id: Uuid, secret_id: Uuid) -> Self {
        Self {
            key_id,
            secret_id,
            counts: Default::default(),
            used_at: AtomicI64::new(0),
            written_at: AtomicI64::new(0),
            waiting: AtomicBool::new(false),
        }
    }

    fn take(&self, now: DateTime<Utc>) -> Option<KeyUse> {
        self.waiting.store(false, Ordering::Release);
        self.written_at.store(now.timestamp_micros(), Ordering::Relaxed);
        let counts = Verdict::ALL.into_iter().zip(&self.counts);
        let counts: Vec<_> = counts
            .map(|(verdict, count)| (verdict, count.swap(0, Ordering::AcqRel)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let used_at = DateTime::from_timestamp_micros(self.used_at.swap(0, Ordering::AcqRel));
        let used_at = used_at.filter(|time| time.timestamp_micros() > 0);
        (!counts.is_empty()).then_some(KeyUse {
            key_id: self.key_id,
            secret_id: self.secret_id,
            day: now.date_naive(),
            counts,
            used_at,
        })
    }
}

#[derive(Default)]
pub struct Usage {
    /// The keys with counts to be written.
    waiting: Mutex<Vec<Arc<KnownKey>>>,
    /// All decisions of this process, by the order of [`Verdict::ALL`].
    verdicts: [AtomicU64; Verdict::ALL.len()],
    written: AtomicU64,
    failed: AtomicU64,
}

impl Usage {
    pub fn count(&self, known: &Arc<KnownKey>, verdict: Verdict, now: DateTime<Utc>) {
        self.verdicts[verdict as usize].fetch_add(1, Ordering::Relaxed);
        let tally = &known.tally;
        // Before the count, so that whoever writes the count writes its time too.
        if verdict == Verdict::Valid {
            tally.used_at.store(now.timestamp_micros(), Ordering::Relaxed);
        }
        tally.counts[verdict as usize].fetch_add(1, Ordering::AcqRel);
        // The plain load keeps a busy key's line of memory shared between cores.
        if !tally.waiting.load(Ordering::Relaxed) && !tally.waiting.swap(true, Ordering::AcqRel) {
            self.waiting().push(known.clone());
        }
    }

    /// Counts a question about what is no key.
    pub fn count_unknown(&self) {
        self.verdicts[Verdict::NotFound as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each verdict was given since the start.
    pub fn verdicts(&self) -> impl Iterator<Item = (Verdict, u64)> {
        Verdict::ALL.into_iter().zip(&self.verdicts).map(|(verdict, count)| (verdict, count.load(Ordering::Relaxed)))
    }

    /// How many batches were written, and how many could not be.
    pub fn batches(&self) -> [u64; 2] {
        [&self.written, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }

    /// How many secrets have counts to be written.
    pub fn pending(&self) -> usize {
        self.waiting().len()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Arc<KnownKey>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was asked about a key on one day.
#[derive(Debug, Clone)]
pub struct DayOfUse {
    pub day: NaiveDate,
    pub counts: Vec<(Verdict, u64)>,
}

impl Service {
    /// Writes what is due, or everything. What cannot be written now waits on.
    pub async fn write_usage(&self, everything: bool) -> Result<(), ServiceError> {
        let now = self.clock.now();
        let last = (now - WRITTEN_EVERY).timestamp_micros();
        let is_due = |known: &Arc<KnownKey>| everything || known.tally.written_at.load(Ordering::Relaxed) <= last;
        let due: Vec<_> = self.usage.waiting().extract_if(.., |known| is_due(known)).collect();
        const BATCH: usize = 200;
        let mut batches = due.chunks(BATCH);
        while let Some(batch) = batches.next() {
            let (known, uses): (Vec<_>, Vec<_>) =
                batch.iter().filter_map(|known| Some((known, known.tally.take(now)?))).unzip();
            if let Err(error) = self.store.add_usage(&uses).await {
                self.usage.failed.fetch_add(1, Ordering::Relaxed);
                known.into_iter().zip(&uses).for_each(|(known, usage)| self.give_back(known, usage));
                // Those that were not tried are still marked as waiting, so that nobody else will put them back.
                self.usage.waiting().extend(batches.flatten().cloned());
                return Err(error.into());
            }
            self.usage.written.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn give_back(&self, known: &Arc<KnownKey>, usage: &KeyUse) {
        let tally = &known.tally;
        for (verdict, count) in &usage.counts {
            tally.counts[*verdict as usize].fetch_add(*count, Ordering::AcqRel);
        }
        tally.used_at.fetch_max(usage.used_at.map_or(0, |time| time.timestamp_micros()), Ordering::AcqRel);
        tally.written_at.store(0, Ordering::Relaxed);
        if !tally.waiting.swap(true, Ordering::AcqRel) {
            self.usage.waiting().push(known.clone());
        }
    }

    /// The days on which the key was asked about, oldest first, both ends included.
    pub async fn key_usage(
        &self,
        reach: Reach<'_>,
        id: Uuid,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<DayOfUse>, ServiceError> {
        self.find_key(reach, id).await?;
        let mut days: Vec<DayOfUse> = Vec::new();
        for (day, verdict, count) in self.store.list_usage(id, from, to).await? {
            match days.last_mut().filter(|last| last.day == day) {
                Some(last) => last.counts.push((verdict, count)),
                None => days.push(DayOfUse { day, counts: vec![(verdict, count)] }),
            }
        }
        Ok(days)
    }
}
