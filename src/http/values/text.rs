//! Text: names, reasons, identifiers and presented keys.

use chrono::DateTime;
use poem_openapi::registry::MetaSchema;
use serde_json::{Value, json};

use crate::domain::key_name::KeyName;
use crate::domain::secret::{Entropy, Secret};
use crate::domain::validation::ValidationError;
use crate::http::values::{FromJson, ValueError, json_value, value_error};

/// Control, format, line separator and paragraph separator characters of the Basic Multilingual Plane, which names must not
/// contain. The few in other planes are left out, because regex engines on UTF-16 split them into surrogates.
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
        text.and_then(Self::new).map_err(value_error)
    }
}

/// Free-text reason, with the rules of a name.
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

/// Issuer, subject or organization, as in a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier(pub String);

json_value!(
    Identifier,
    "Identifier",
    MetaSchema {
        min_length: Some(1),
        max_length: Some(255),
        pattern: Some("^[^\\u0000-\\u001f\\u007f-\\u009f]+$".to_owned()),
        example: Some(json!("alice")),
        ..MetaSchema::new("string")
    },
    |identifier| identifier.0.clone().into()
);

impl FromJson for Identifier {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let rule = ValidationError::new("must be a string of 1 to 255 characters, none of them a control character");
        let is_valid = |text: &&str| (1..=255).contains(&text.chars().count()) && !text.contains(char::is_control);
        let text = value.as_str().filter(is_valid);
        text.map(|text| Self(text.to_owned())).ok_or_else(|| value_error(rule))
    }
}

/// A presented key. Has no `Debug`, because it may be a secret.
pub struct PresentedKey(pub String);

json_value!(
    PresentedKey,
    "PresentedKey",
    MetaSchema { example: Some(PresentedKey::example().0.into()), ..MetaSchema::new("string") },
    |presented| presented.0.clone().into()
);

impl PresentedKey {
    pub fn example() -> Self {
        Self(example_secret().expose().to_owned())
    }
}

/// The secret in every example: that of 32 zero bytes, which no random source returns.
pub fn example_secret() -> Secret<'static> {
    Secret::mint(&"mk".parse().expect("mk is a prefix"), &Entropy::fixed([0; 32]), DateTime::UNIX_EPOCH)
}

impl FromJson for PresentedKey {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        match value {
            Value::String(text) => Ok(Self(text)),
            _ => Err(value_error(ValidationError::new("must be a string"))),
        }
    }
}
