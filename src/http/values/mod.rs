//! Values: how the domain's words look in JSON. Each carries its own check and its own schema, so that the document
//! cannot promise what the code does not do.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::scope::{Scope, Scopes};
use crate::domain::secret::MAX_GRACE;
use crate::domain::secret::{Entropy, Secret};
use crate::domain::validation::ValidationError;

/// A value that a member of a request body can hold.
pub trait FromJson: Sized {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>>;
}

/// What is wrong with a value, and where below it, as the rest of a JSON pointer.
pub struct ValueError {
    pub below: String,
    pub rule: ValidationError,
}

fn flaw(rule: ValidationError) -> Vec<ValueError> {
    vec![ValueError { below: String::new(), rule }]
}

/// A type that stands in the document by a schema of its own.
macro_rules! schema_type {
    ($type:ty, $name:literal, $schema:expr) => {
        impl poem_openapi::types::Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
                poem_openapi::registry::MetaSchemaRef::Inline(Box::new($schema))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
    };
}

pub(super) use schema_type;

/// What poem-openapi asks of a type before it may stand in a schema. It derives parsing for every schema too; ours
/// answers with the same rule, though bodies are read by [`crate::http::body::ObjectReader`].
macro_rules! json_value {
    ($type:ty, $name:literal, $schema:expr, |$value:ident| $to_json:expr) => {
        schema_type!($type, $name, $schema);

        impl ParseFromJSON for $type {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                Self::from_json(value.unwrap_or_default()).map_err(|flaws| {
                    ParseError::custom(flaws.into_iter().map(|flaw| flaw.rule.to_string()).collect::<String>())
                })
            }
        }

        impl ToJSON for $type {
            fn to_json(&self) -> Option<Value> {
                let $value = self;
                Some($to_json)
            }
        }
    };
}

/// The control, format, line-separating and paragraph-separating characters of Unicode's first plane, which no name may
/// hold. The few of the other planes are left out: engines that read a pattern in UTF-16 take them apart.
const INVISIBLE: &str = "\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890\\u0891\\u08e2\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2064\\u2066-\\u206f\\ufeff\\ufff9-\\ufffb";

fn name_pattern() -> String {
    format!("^(?!\\s*$)[^{INVISIBLE}]+$")
}

json_value!(
    KeyName,
    "KeyName",
    MetaSchema {
        min_length: Some(1),
        max_length: Some(KeyName::MAX),
        pattern: Some(name_pattern()),
        title: Some("Name".to_owned()),
        example: Some(json!("example")),
        ..MetaSchema::new("string")
    },
    |name| name.as_str().into()
);

impl FromJson for KeyName {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let text = value.as_str().ok_or(ValidationError::new("must be a string"));
        text.and_then(Self::new).map_err(flaw)
    }
}

json_value!(
    Scopes,
    "Scopes",
    MetaSchema {
        items: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema {
            min_length: Some(1),
            max_length: Some(Scope::MAX),
            pattern: Some("^[a-z0-9:._*-]+$".to_owned()),
            ..MetaSchema::new("string")
        })))),
        max_items: Some(Scopes::MAX),
        unique_items: Some(true),
        example: Some(json!(["projects:read"])),
        ..MetaSchema::new("array")
    },
    |scopes| scopes.iter().map(Scope::as_str).collect()
);

impl FromJson for Scopes {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let not_strings = ValidationError::new("must be an array of strings");
        let Value::Array(items) = value else { return Err(flaw(not_strings)) };
        let (mut scopes, mut flaws) = (Vec::new(), Vec::new());
        for (index, item) in items.iter().enumerate() {
            match item.as_str().ok_or(ValidationError::new("must be a string")).and_then(Scope::new) {
                Ok(scope) => scopes.push(scope),
                Err(rule) => flaws.push(ValueError { below: format!("/{index}"), rule }),
            }
        }
        if flaws.is_empty() { Self::new(scopes).map_err(flaw) } else { Err(flaws) }
    }
}

/// Scopes as a quick reading of a body takes them.
pub fn plain_scopes(texts: &[Cow<'_, str>]) -> Option<Scopes> {
    let scopes: Result<Vec<_>, _> = texts.iter().map(|text| Scope::new(text)).collect();
    Scopes::new(scopes.ok()?).ok()
}

json_value!(
    Metadata,
    "Metadata",
    MetaSchema {
        additional_properties: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema::ANY)))),
        example: Some(json!({ "team": "billing" })),
        ..MetaSchema::new("object")
    },
    |metadata| Value::Object(metadata.as_object().clone())
);

impl FromJson for Metadata {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        match value {
            Value::Object(object) => Self::new(object).map_err(flaw),
            _ => Err(flaw(ValidationError::new("must be an object"))),
        }
    }
}

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
        let time = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok()).ok_or_else(|| flaw(rule))?;
        Ok(Self(time.to_utc().trunc_subsecs(6)))
    }
}

/// When a key ends: a time to come, as far as a schema can say it. Whoever reads this document reads it after its first
/// release, late in 2026, and RFC 3339 ends with the year 9999.
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
            Err(flaw(ValidationError::new("must be before the year 10000 in UTC")))
        } else {
            Ok(Self(time))
        }
    }
}

/// From now, how long a key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(pub TimeDelta);

/// A hundred years: more is no expiry, and a mistake.
const MAX_LIFETIME: i64 = 100 * 365 * 86_400;

json_value!(
    Lifetime,
    "Lifetime",
    MetaSchema {
        minimum: Some(1.0),
        maximum: Some(MAX_LIFETIME as f64),
        example: Some(json!(7_776_000)),
        ..MetaSchema::new_with_format("integer", "int64")
    },
    |lifetime| lifetime.0.num_seconds().into()
);

impl FromJson for Lifetime {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let rule = ValidationError::new("must be a whole number of seconds from 1 to 3153600000");
        whole(&value)
            .filter(|seconds| (1..=MAX_LIFETIME).contains(seconds))
            .map(|n| Self(TimeDelta::seconds(n)))
            .ok_or_else(|| flaw(rule))
    }
}

/// For how long an old secret stays good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace(pub TimeDelta);

json_value!(
    Grace,
    "Grace",
    MetaSchema {
        minimum: Some(0.0),
        maximum: Some(MAX_GRACE.num_seconds() as f64),
        example: Some(json!(3600)),
        ..MetaSchema::new_with_format("integer", "int64")
    },
    |grace| grace.0.num_seconds().into()
);

impl FromJson for Grace {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let rule = ValidationError::new("must be a whole number of seconds from 0 to 2592000");
        let seconds = whole(&value).filter(|seconds| (0..=MAX_GRACE.num_seconds()).contains(seconds));
        seconds.map(|seconds| Self(TimeDelta::seconds(seconds))).ok_or_else(|| flaw(rule))
    }
}

/// Why something was done, by the rules of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(pub String);

json_value!(
    Reason,
    "Reason",
    MetaSchema {
        min_length: Some(1),
        max_length: Some(KeyName::MAX),
        pattern: Some(name_pattern()),
        example: Some(json!("leaked in a build log")),
        ..MetaSchema::new("string")
    },
    |reason| reason.0.clone().into()
);

impl FromJson for Reason {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        KeyName::from_json(value).map(|text| Self(text.as_str().to_owned()))
    }
}

/// An issuer, a subject or an organisation, as a token names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier(pub String);

json_value!(
    Identifier,
    "Identifier",
    MetaSchema {
        min_length: Some(1),
        max_length: Some(255),
        example: Some(json!("alice")),
        ..MetaSchema::new("string")
    },
    |identifier| identifier.0.clone().into()
);

impl FromJson for Identifier {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let rule = ValidationError::new("must be a string of 1 to 255 characters");
        let text = value.as_str().filter(|text| (1..=255).contains(&text.chars().count()));
        text.map(|text| Self(text.to_owned())).ok_or_else(|| flaw(rule))
    }
}

/// What a client presented as a key. It is not shown: it may be one.
pub struct PresentedKey(pub String);

json_value!(
    PresentedKey,
    "PresentedKey",
    MetaSchema { example: Some(PresentedKey::example().0.into()), ..MetaSchema::new("string") },
    |presented| presented.0.clone().into()
);

impl PresentedKey {
    /// The secret of 32 zero bytes, which no random source will ever give.
    pub fn example() -> Self {
        let prefix = "mk".parse().expect("mk is a prefix");
        Self(Secret::mint(&prefix, &Entropy::fixed([0; 32]), DateTime::UNIX_EPOCH).expose().to_owned())
    }
}

impl FromJson for PresentedKey {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        match value {
            Value::String(text) => Ok(Self(text)),
            _ => Err(flaw(ValidationError::new("must be a string"))),
        }
    }
}

impl FromJson for bool {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        value.as_bool().ok_or_else(|| flaw(ValidationError::new("must be true or false")))
    }
}

/// JSON has one kind of number: 5.0 is the integer 5 (JSON Schema 2020-12, section 6.1.1 of the validation part).
fn whole(value: &Value) -> Option<i64> {
    let exact = |n: f64| (n.fract() == 0.0 && n.abs() < 9e15).then_some(n as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(exact))
}
