//! Instants, as RFC 3339 writes them.

use chrono::{DateTime, Datelike, SecondsFormat, SubsecRound, Timelike, Utc};
use poem_openapi::registry::MetaSchema;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::domain::validation::ValidationError;
use crate::http::values::{FromJson, ValueError, json_value, value_error};

/// An instant, in UTC and to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub DateTime<Utc>);

json_value!(
    Time,
    "Time",
    MetaSchema { example: Some(json!("2026-04-15T12:00:00Z")), ..MetaSchema::new_with_format("string", "date-time") },
    |time| time.text().into()
);

impl Time {
    fn text(self) -> String {
        self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl FromJson for Time {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let rule = ValidationError::new("must be a date and time by RFC 3339, such as 2030-01-01T00:00:00Z");
        let time = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let time = time.ok_or_else(|| value_error(rule))?.to_utc();
        let time = without_leap_second(time).ok_or_else(|| {
            value_error(ValidationError::new(
                "has a second of 60; there is one only at 23:59:60 UTC on June 30 or December 31",
            ))
        })?;
        Ok(Self(time.trunc_subsecs(6)))
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

/// Expiry of a key. The pattern excludes past times as far as a schema can: it begins with 2027, the year after the first
/// release, and ends with 9999, as RFC 3339 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry(pub DateTime<Utc>);

json_value!(
    Expiry,
    "Expiry",
    MetaSchema {
        pattern: Some("^(202[7-9]|20[3-9][0-9]|2[1-9][0-9]{2}|[3-9][0-9]{3})-".to_owned()),
        example: Some(json!("2030-01-01T00:00:00Z")),
        ..MetaSchema::new_with_format("string", "date-time")
    },
    |expiry| Time(expiry.0).to_json().unwrap_or_default()
);

impl FromJson for Expiry {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let Time(time) = Time::from_json(value)?;
        let last = DateTime::from_timestamp(253_402_300_799, 999_999_000).expect("the end of the year 9999 exists");
        if time > last {
            Err(value_error(ValidationError::new("must be before the year 10000 in UTC")))
        } else {
            Ok(Self(time))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_of_60_is_accepted_only_where_a_leap_second_can_be() {
        let parse = |text: &str| Time::from_json(json!(text)).map(Time::text).ok();
        for (text, expected) in [
            ("2030-06-30T23:59:60Z", Some("2030-07-01T00:00:00Z")),
            ("2030-12-31T23:59:60.25Z", Some("2031-01-01T00:00:00.250Z")),
            ("2031-01-01T00:59:60+01:00", Some("2031-01-01T00:00:00Z")),
            ("2030-06-30T12:00:60Z", None),
            ("2030-06-29T23:59:60Z", None),
            ("2030-06-30T23:59:60+01:00", None),
            ("2030-06-30T23:59:59.999999Z", Some("2030-06-30T23:59:59.999999Z")),
        ] {
            assert_eq!(parse(text).as_deref(), expected, "{text}");
        }
        assert!(Expiry::from_json(json!("9999-12-31T23:59:60Z")).is_err());
    }
}
