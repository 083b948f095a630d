//! Usage: when secrets were last used, and how often keys were asked about, by day and verdict.
//!
//! Counted in memory on the way of a verify, which takes an atomic addition, and written behind its back: the first use
//! within a few seconds, then at most once a minute a key, and all that is left at shutdown. A crash loses what was not
//! yet written, at most a minute of counts; it never loses a verdict.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::precondition::Precondition;
use crate::domain::verdict::Verdict;
use crate::service::verify::cached_key::CachedKey;
use crate::service::{Service, ServiceError};
use crate::store::UsageDelta;

/// How often the counts of one key are written.
const WRITTEN_EVERY: TimeDelta = TimeDelta::minutes(1);

/// What was counted for one secret since it was last written. It waits to be written from when one of the counts is no
/// longer zero.
#[derive(Default)]
pub struct UsageCounter {
    /// Good, lacking a scope, and refused whatever is asked for, of which a key knows one reason.
    counts: [AtomicU32; 3],
    /// Microseconds since the epoch; zero when not used since.
    used_at: AtomicI64,
    /// Seconds since the epoch.
    written_at: AtomicU32,
}

impl UsageCounter {
    /// Of a secret whose last use was written then: nobody else remembers that of a key that was out of memory.
    pub fn of(last_used_at: Option<DateTime<Utc>>) -> Self {
        Self { written_at: last_used_at.map_or(0, seconds).into(), ..Self::default() }
    }

    fn count(&self, verdict: Verdict) -> &AtomicU32 {
        match verdict {
            Verdict::Valid => &self.counts[0],
            Verdict::InsufficientScope => &self.counts[1],
            Verdict::Revoked | Verdict::Disabled | Verdict::Expired | Verdict::NotFound => &self.counts[2],
        }
    }

    /// Whether the counts now wait to be written, and did not before.
    fn add(&self, verdict: Verdict, count: u32) -> bool {
        self.count(verdict).fetch_add(count, Ordering::AcqRel) == 0
    }

    /// Takes over what the other one counted.
    fn absorb(&self, other: &Self) {
        for (count, others) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(others.swap(0, Ordering::AcqRel), Ordering::AcqRel);
        }
        self.used_at.fetch_max(other.used_at.swap(0, Ordering::AcqRel), Ordering::AcqRel);
        self.written_at.fetch_max(other.written_at.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn is_due(&self, now: DateTime<Utc>) -> bool {
        let written = self.written_at.load(Ordering::Relaxed);
        // A clock that was ahead may have written what is yet to come.
        !(seconds(now - WRITTEN_EVERY)..=seconds(now)).contains(&written)
    }
}

fn take(known: &CachedKey, now: DateTime<Utc>) -> Option<UsageDelta> {
    let tally = &known.tally;
    tally.written_at.store(seconds(now), Ordering::Relaxed);
    let counts: Vec<_> = [Verdict::Valid, Verdict::InsufficientScope, known.refusal()]
        .map(|verdict| (verdict, tally.count(verdict).swap(0, Ordering::AcqRel)))
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect();
    let used_at = DateTime::from_timestamp_micros(tally.used_at.swap(0, Ordering::AcqRel));
    let used_at = used_at.filter(|time| time.timestamp_micros() > 0);
    (!counts.is_empty()).then_some(UsageDelta {
        key_id: known.id,
        secret_id: known.secret_id,
        day: now.date_naive(),
        counts,
        used_at,
    })
}

fn seconds(time: DateTime<Utc>) -> u32 {
    u32::try_from(time.timestamp()).unwrap_or_default()
}

#[derive(Default)]
pub struct Usage {
    /// The keys with counts to be written; one is there twice when it has two counts.
    waiting: Mutex<Vec<Arc<CachedKey>>>,
    /// All decisions of this process, by the order of [`Verdict::ALL`].
    verdicts: [AtomicU64; Verdict::ALL.len()],
    written: AtomicU64,
    failed: AtomicU64,
}

impl Usage {
    pub fn count(&self, known: &Arc<CachedKey>, verdict: Verdict, now: DateTime<Utc>) {
        self.verdicts[verdict as usize].fetch_add(1, Ordering::Relaxed);
        let tally = &known.tally;
        // Before the count, so that whoever writes the count writes its time too.
        if verdict == Verdict::Valid {
            tally.used_at.store(now.timestamp_micros(), Ordering::Relaxed);
        }
        if tally.add(verdict, 1) {
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

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Arc<CachedKey>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was asked about a key on one day.
#[derive(Debug, Clone)]
pub struct DailyUsage {
    pub day: NaiveDate,
    pub counts: Vec<(Verdict, u64)>,
}

impl Service {
    /// Writes what is due, or everything. What cannot be written now waits on.
    pub async fn write_usage(&self, everything: bool) -> Result<(), ServiceError> {
        let now = self.clock.now();
        let mut due = std::mem::take(&mut *self.usage.waiting());
        // Neighbours in the database are written together, and one that left memory and came back once.
        due.sort_by_key(|known| known.secret_id);
        due.dedup_by(|newer, older| {
            let is_same = newer.secret_id == older.secret_id && newer.refusal() == older.refusal();
            if is_same {
                newer.tally.absorb(&older.tally);
                std::mem::swap(newer, older);
            }
            is_same
        });
        let early = due.extract_if(.., |known| !everything && !known.tally.is_due(now)).collect::<Vec<_>>();
        self.usage.waiting().extend(early);
        const BATCH: usize = 200;
        let mut batches = due.chunks(BATCH);
        while let Some(batch) = batches.next() {
            let (known, uses): (Vec<_>, Vec<_>) =
                batch.iter().filter_map(|known| Some((known, take(known, now)?))).unzip();
            if uses.is_empty() {
                continue;
            }
            if let Err(error) = self.store.add_usage(&uses).await {
                self.usage.failed.fetch_add(1, Ordering::Relaxed);
                known.into_iter().zip(&uses).for_each(|(known, usage)| self.give_back(known, usage));
                // Those that were not tried have counts that nobody else takes for new.
                self.usage.waiting().extend(batches.flatten().cloned());
                return Err(error.into());
            }
            self.usage.written.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn give_back(&self, known: &Arc<CachedKey>, usage: &UsageDelta) {
        let tally = &known.tally;
        tally.used_at.fetch_max(usage.used_at.map_or(0, |time| time.timestamp_micros()), Ordering::AcqRel);
        tally.written_at.store(0, Ordering::Relaxed);
        for (verdict, count) in &usage.counts {
            if tally.add(*verdict, *count) {
                self.usage.waiting().push(known.clone());
            }
        }
    }

    /// The days on which the key was asked about, oldest first, both ends included.
    pub async fn key_usage(
        &self,
        access: AccessFilter<'_>,
        id: Uuid,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Vec<DailyUsage>, ServiceError> {
        self.find_key(access, id, &Precondition::None).await?;
        let mut days: Vec<DailyUsage> = Vec::new();
        for (day, verdict, count) in self.store.list_usage(id, from, to).await? {
            match days.last_mut().filter(|last| last.day == day) {
                Some(last) => last.counts.push((verdict, count)),
                None => days.push(DailyUsage { day, counts: vec![(verdict, count)] }),
            }
        }
        Ok(days)
    }
}
