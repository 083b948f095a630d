//! Durations, as whole numbers of seconds.

use chrono::TimeDelta;
use poem_openapi::registry::MetaSchema;
use serde_json::{Value, json};

use crate::domain::api_key::MAX_LIFETIME;
use crate::domain::secret::MAX_GRACE;
use crate::domain::validation::ValidationError;
use crate::http::values::{FromJson, ValueError, json_value, value_error};

/// Lifetime of a key, from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(pub TimeDelta);

json_value!(
    Lifetime,
    "Lifetime",
    MetaSchema {
        minimum: Some(1.0),
        maximum: Some(MAX_LIFETIME.num_seconds() as f64),
        example: Some(json!(7_776_000)),
        ..MetaSchema::new_with_format("integer", "int64")
    },
    |lifetime| lifetime.0.num_seconds().into()
);

impl FromJson for Lifetime {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let rule = ValidationError::new("must be a whole number of seconds from 1 to 3153600000");
        whole(&value)
            .filter(|seconds| (1..=MAX_LIFETIME.num_seconds()).contains(seconds))
            .map(|n| Self(TimeDelta::seconds(n)))
            .ok_or_else(|| value_error(rule))
    }
}

/// Time for which a rotated secret stays valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(pub TimeDelta);

json_value!(
    Grace,
    "Grace",
    MetaSchema {
        minimum: Some(0.0),
        maximum: Some(MAX_GRACE.num_seconds() as f64),
        example: Some(json!(3600)),
        ..MetaSchema::new_with_format("integer", "int32")
    },
    |grace| grace.0.num_seconds().into()
);

impl FromJson for Grace {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let rule = ValidationError::new("must be a whole number of seconds from 0 to 2592000");
        let seconds = whole(&value).filter(|seconds| (0..=MAX_GRACE.num_seconds()).contains(seconds));
        seconds.map(|seconds| Self(TimeDelta::seconds(seconds))).ok_or_else(|| value_error(rule))
    }
}

/// JSON has one kind of number: 5.0 is the integer 5 (JSON Schema 2020-12, section 6.1.1 of the validation part).
fn whole(value: &Value) -> Option<i64> {
    let exact = |n: f64| (n.fract() == 0.0 && n.abs() < 9e15).then_some(n as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(exact))
}
