//! Id: the identifier of a key, a secret, an audit event or a job.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The bits after the time: version 7 and the variant of RFC 9562.
const VERSION_AND_VARIANT: u128 = 0x7 << 76 | 0b10 << 62;
const COUNTER_BITS: u32 = 42;
/// The latest time of an id, in milliseconds since 1970.
const LAST_MILLISECOND: u128 = (1 << 48) - 1;

/// Returns a new UUIDv7 (RFC 9562, section 5.7) of exactly this time, in milliseconds. Ids sort by creation time, which is
/// the order of every list, and what was created before a time is found by [`first_id_after`] alone.
///
/// A counter of the process orders the ids of a millisecond. It is not reset, so that it never needs a later time than the
/// given one, also when the clock was set back.
#[expect(clippy::disallowed_methods, reason = "an id is not a secret")]
pub fn new_id(now: DateTime<Utc>) -> Uuid {
    // Half of its range, so that it does not overflow.
    static COUNTER: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(rand::random::<u64>() >> (65 - COUNTER_BITS)));
    let counter = u128::from(COUNTER.fetch_add(1, Ordering::Relaxed)) & ((1 << COUNTER_BITS) - 1);
    let rest = counter << 32 | u128::from(rand::random::<u32>());
    let rest = (rest >> 62) << 64 | rest & ((1 << 62) - 1);
    Uuid::from_u128(milliseconds(now) << 80 | VERSION_AND_VARIANT | rest)
}

/// Returns an id that is greater than those of this time, to the millisecond, and of all earlier times.
pub fn first_id_after(time: DateTime<Utc>) -> Uuid {
    match milliseconds(time) {
        LAST_MILLISECOND => Uuid::max(),
        earlier => Uuid::from_u128((earlier + 1) << 80),
    }
}

/// Since 1970, as an id has them.
fn milliseconds(time: DateTime<Utc>) -> u128 {
    u128::try_from(time.timestamp_millis()).unwrap_or_default().min(LAST_MILLISECOND)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(milliseconds).unwrap()
    }

    #[test]
    fn new_id_of_one_instant_sorts_after_the_ids_before_it() {
        let ids: Vec<_> = (0..1000).map(|_| new_id(at(5000))).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| (id.get_version_num(), id.get_variant()) == (7, uuid::Variant::RFC4122)));
    }

    #[test]
    fn new_id_has_the_time_of_its_creation_also_when_the_clock_is_set_back() {
        for milliseconds in [5000, 7000, 6999, 1, 7001] {
            let id = new_id(at(milliseconds) + TimeDelta::microseconds(999));
            let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
            assert_eq!(seconds * 1000 + u64::from(nanos) / 1_000_000, milliseconds as u64);
            assert!(id < first_id_after(at(milliseconds)) && id > first_id_after(at(milliseconds - 1)));
        }
    }

    #[test]
    fn first_id_after_any_time_is_an_id() {
        assert_eq!(first_id_after(at(-5)), first_id_after(at(0)));
        assert_eq!(first_id_after(DateTime::<Utc>::MAX_UTC), Uuid::max());
        assert_eq!(first_id_after(at(LAST_MILLISECOND as i64)), Uuid::max());
    }

    #[test]
    fn first_id_after_separates_the_ids_of_milliseconds() {
        for time in [0, 1, 1_700_000_000_000] {
            let bound = first_id_after(at(time));
            assert!(new_id(at(time)) < bound && bound < new_id(at(time + 1)), "{time}");
        }
    }
}
