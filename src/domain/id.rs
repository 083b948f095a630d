//! Id: the identifier of a key, a secret or an audit event.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use uuid::{ContextV7, Timestamp, Uuid};

/// Returns a new UUIDv7 (RFC 9562, section 5.7) of this time. Ids sort by creation time, which is the order of every
/// list; a counter orders those that one process creates within a millisecond.
pub fn new_id(now: DateTime<Utc>) -> Uuid {
    static COUNTER: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    let counter = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(&*counter, seconds, now.timestamp_subsec_nanos()))
}

/// Returns an id that sorts after the ids of this time and of all before, and not after those of a millisecond later.
pub fn first_id_after(time: DateTime<Utc>) -> Uuid {
    let milliseconds = u128::try_from(time.timestamp_millis()).unwrap_or_default() + 1;
    Uuid::from_u128(milliseconds << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_id_of_one_instant_sorts_after_the_ids_before_it() {
        let now = DateTime::from_timestamp(5, 0).unwrap();
        let ids: Vec<_> = (0..1000).map(|_| new_id(now)).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn first_id_after_separates_the_ids_of_milliseconds() {
        let at = |milliseconds| DateTime::from_timestamp_millis(milliseconds).unwrap();
        for time in [0, 1, 1_700_000_000_000] {
            let bound = first_id_after(at(time));
            assert!(new_id(at(time)) < bound && bound < new_id(at(time + 1)), "{time}");
        }
    }
}
