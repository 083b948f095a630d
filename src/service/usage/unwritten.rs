//! UnwrittenUsage: counts that were taken out of their counters and wait to be written.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::domain::verdict::Verdict;
use crate::service::usage::counter::LastWrite;
use crate::store::UsageDelta;

/// The counts of keys that are not cached any more, of days that have ended, and of writes that failed. Those of a secret
/// are merged, so that they are not written more often than once a minute. Ordered by key, so that concurrent writers lock
/// rows in the same order.
#[derive(Default)]
pub struct UnwrittenUsage(BTreeMap<(Uuid, Uuid), Unwritten>);

struct Unwritten {
    counts: Vec<(NaiveDate, Verdict, u64)>,
    used_at: Option<DateTime<Utc>>,
    written_at: LastWrite,
}

/// About what one secret occupies.
pub const UNWRITTEN_BYTES: usize = 200;

impl UnwrittenUsage {
    /// Adds counts of a secret whose counts were last written at `written_at`.
    pub fn add(&mut self, delta: UsageDelta, written_at: LastWrite) {
        let UsageDelta { key_id, secret_id, counts, used_at } = delta;
        let empty = || Unwritten { counts: Vec::new(), used_at: None, written_at };
        let unwritten = self.0.entry((key_id, secret_id)).or_insert_with(empty);
        for (day, verdict, count) in counts {
            match unwritten.counts.iter_mut().find(|(of, by, _)| (*of, *by) == (day, verdict)) {
                Some((_, _, sum)) => *sum = sum.saturating_add(count),
                None => unwritten.counts.push((day, verdict, count)),
            }
        }
        unwritten.used_at = unwritten.used_at.max(used_at);
        unwritten.written_at = unwritten.written_at.min(written_at);
    }

    /// Takes out the counts that are due, or all if there are those of more than `max` secrets.
    pub fn take_due(&mut self, now: DateTime<Utc>, max: usize) -> Vec<UsageDelta> {
        let all = self.0.len() > max;
        let due = self.0.extract_if(.., |_, unwritten| all || unwritten.written_at.is_due(now));
        let delta = |((key_id, secret_id), unwritten): (_, Unwritten)| {
            let Unwritten { counts, used_at, written_at: _ } = unwritten;
            UsageDelta { key_id, secret_id, counts, used_at }
        };
        due.map(delta).collect()
    }

    /// The number of secrets.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::service::usage::counter::UsageCounter;

    #[test]
    fn take_due_merges_the_counts_of_a_secret() {
        let now = DateTime::from_timestamp(86_400, 0).unwrap();
        let (today, yesterday) = (now.date_naive(), now.date_naive().pred_opt().unwrap());
        let delta = |counts, used_at| UsageDelta { key_id: Uuid::nil(), secret_id: Uuid::nil(), counts, used_at };
        let just_written = UsageCounter::new(Some(now)).written_at();
        let mut unwritten = UnwrittenUsage::default();
        unwritten.add(delta(vec![(today, Verdict::Valid, 1)], Some(now)), just_written);
        assert!(unwritten.take_due(now, 1).is_empty() && unwritten.len() == 1);
        unwritten.add(delta(vec![(yesterday, Verdict::Valid, 5)], None), just_written);
        unwritten.add(delta(vec![(today, Verdict::Valid, 2), (today, Verdict::Expired, 1)], None), just_written);
        let due = unwritten.take_due(now + TimeDelta::seconds(61), 1);
        let counts = [(today, Verdict::Valid, 3), (yesterday, Verdict::Valid, 5), (today, Verdict::Expired, 1)];
        assert_eq!((due.len(), due[0].counts.as_slice(), due[0].used_at), (1, counts.as_slice(), Some(now)));
        assert_eq!(unwritten.len(), 0);
    }

    #[test]
    fn take_due_of_too_many_secrets_takes_all() {
        let now = DateTime::from_timestamp(86_400, 0).unwrap();
        let mut unwritten = UnwrittenUsage::default();
        for n in 0..3 {
            let counts = vec![(now.date_naive(), Verdict::Valid, 1)];
            let delta = UsageDelta { key_id: Uuid::from_u128(n), secret_id: Uuid::nil(), counts, used_at: None };
            unwritten.add(delta, UsageCounter::new(Some(now)).written_at());
        }
        assert!(unwritten.take_due(now, 3).is_empty());
        assert_eq!(unwritten.take_due(now, 2).len(), 3);
    }
}
