//! Instants, as RFC 3339 writes them.

use chrono::{DateTime, SecondsFormat, Utc};
use poem_openapi::registry::MetaSchema;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::domain::timestamp::parse_timestamp;
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
        parse_timestamp(value.as_str().unwrap_or_default()).map(Self).map_err(value_error)
    }
}

/// Expiry of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry(pub DateTime<Utc>);

json_value!(
    Expiry,
    "Expiry",
    MetaSchema { example: Some(json!("2030-01-01T00:00:00Z")), ..MetaSchema::new_with_format("string", "date-time") },
    |expiry| Time(expiry.0).to_json().unwrap_or_default()
);

impl FromJson for Expiry {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        Time::from_json(value).map(|Time(time)| Self(time))
    }
}
