//! Text: names, reasons, identifiers and presented keys.

use chrono::DateTime;
use poem_openapi::registry::MetaSchema;
use serde_json::{Value, json};

use crate::domain::key_name::KeyName;
use crate::domain::secret::{Entropy, Secret};
use crate::domain::validation::ValidationError;
use crate::http::values::{FromJson, ValueError, json_value, value_error};

/// At least one character that is not a space, and no ASCII control character. Generated clients check it in the regex
/// dialect of their language, so the rest of the rule is in words.
const NAME_PATTERN: &str = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$";

json_value!(
    KeyName,
    "KeyName",
    MetaSchema {
        min_length: Some(1),
        max_length: Some(KeyName::MAX),
        pattern: Some(NAME_PATTERN.to_owned()),
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
        pattern: Some(NAME_PATTERN.to_owned()),
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
        pattern: Some(r"^[^\x00-\x1f\x7f]+$".to_owned()),
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
