//! Timestamps that are given as text.

use chrono::{DateTime, Datelike, SubsecRound, Timelike, Utc};

use crate::domain::validation::ValidationError;

/// Parses a date and time by RFC 3339, to the microsecond. Its year must have four digits in UTC, too: most clients cannot
/// read others.
pub fn parse_timestamp(text: &str) -> Result<DateTime<Utc>, ValidationError> {
    let rule = "must be a date and time by RFC 3339, such as 2030-01-01T00:00:00Z";
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| ValidationError::new(rule))?.to_utc();
    let time = without_leap_second(time).ok_or_else(|| {
        ValidationError::new("has a second of 60; there is one only at 23:59:60 UTC on June 30 or December 31")
    })?;
    match time.year() {
        0..=9999 => Ok(time.trunc_subsecs(6)),
        10_000.. => Err(ValidationError::new("must be before the year 10000 in UTC")),
        _ => Err(ValidationError::new("must be in the year 0000 or later in UTC")),
    }
}

/// Moves a leap second to the second after it, as Unix time does: most clients cannot read a second of 60, and PostgreSQL
/// cannot store one. Returns nothing if there is no leap second at that time.
fn without_leap_second(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // chrono represents a second of 60 as 59 with a second more of nanoseconds.
    let Some(nanoseconds) = time.timestamp_subsec_nanos().checked_sub(1_000_000_000) else { return Some(time) };
    let at_end_of_day = (time.hour(), time.minute()) == (23, 59);
    let has_leap_second = at_end_of_day && [(6, 30), (12, 31)].contains(&(time.month(), time.day()));
    has_leap_second.then(|| DateTime::from_timestamp(time.timestamp() + 1, nanoseconds)).flatten()
}

#[cfg(test)]
mod tests {
    use chrono::SecondsFormat;

    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        let time = parse_timestamp(text).map_err(|error| error.to_string())?;
        Ok(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }

    #[test]
    fn second_of_60_is_accepted_only_where_a_leap_second_can_be() {
        for (text, expected) in [
            ("2030-06-30T23:59:60Z", Some("2030-07-01T00:00:00Z")),
            ("2030-12-31T23:59:60.25Z", Some("2031-01-01T00:00:00.250Z")),
            ("2031-01-01T00:59:60+01:00", Some("2031-01-01T00:00:00Z")),
            ("2030-06-30T12:00:60Z", None),
            ("2030-06-29T23:59:60Z", None),
            ("2030-06-30T23:59:60+01:00", None),
            ("2030-06-30T23:59:59.999999Z", Some("2030-06-30T23:59:59.999999Z")),
        ] {
            assert_eq!(parse(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn year_without_four_digits_in_utc_is_rejected() {
        for (text, year) in [
            ("9999-12-31T23:59:60Z", "10000"),
            ("9999-12-31T23:59:59-23:59", "10000"),
            ("0000-01-01T00:00:00+23:59", "0000"),
        ] {
            assert!(parse(text).unwrap_err().contains(year), "{text}");
        }
        for text in ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"] {
            assert_eq!(parse(text).as_deref(), Ok(text));
        }
        assert!(parse("2026-11-30").unwrap_err().contains("2030-01-01T00:00:00Z"));
    }
}
