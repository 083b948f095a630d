//! Scopes, as an array of strings.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use serde_json::{Value, json};

use crate::domain::scope::{Scope, Scopes};
use crate::domain::validation::ValidationError;
use crate::http::values::{FromJson, ValueError, json_value, value_error};

/// One character of a scope, as a regular expression that every dialect reads alike.
pub const SCOPE_CHARACTER: &str = r"[!#-\[\]-~]";

/// At least one scope.
pub struct ScopeChoice(pub Scopes);

fn scopes_schema() -> MetaSchema {
    MetaSchema {
        items: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema {
            min_length: Some(1),
            max_length: Some(Scope::MAX),
            pattern: Some(format!("^{SCOPE_CHARACTER}+$")),
            description: Some(
                "A permission of a key (`scope-token` of RFC 6749, section 3.3), compared exactly, including case.",
            ),
            ..MetaSchema::new("string")
        })))),
        max_items: Some(Scopes::MAX),
        unique_items: Some(true),
        example: Some(json!(["projects:read"])),
        ..MetaSchema::new("array")
    }
}

json_value!(Scopes, "Scopes", scopes_schema(), |scopes| scopes.iter().map(Scope::as_str).collect());
json_value!(
    ScopeChoice,
    "ScopeChoice",
    MetaSchema {
        min_items: Some(1),
        // Clients that openapi-generator makes in Java send an array that may not be null as an empty one.
        nullable: true,
        example: Some(json!(["projects:write", "projects:admin"])),
        ..scopes_schema()
    },
    |scopes| scopes.0.iter().map(Scope::as_str).collect()
);

impl ScopeChoice {
    /// Checks that there is one.
    pub fn new(scopes: Scopes) -> Result<Self, ValidationError> {
        if scopes.iter().next().is_none() {
            return Err(ValidationError::new("must contain at least one scope; omit it to require none of several"));
        }
        Ok(Self(scopes))
    }
}

impl FromJson for ScopeChoice {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        Self::new(Scopes::from_json(value)?).map_err(value_error)
    }
}

impl FromJson for Scopes {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let not_strings = ValidationError::new("must be an array of strings");
        let Value::Array(items) = value else { return Err(value_error(not_strings)) };
        let (mut scopes, mut errors) = (Vec::new(), Vec::new());
        for (index, item) in items.iter().enumerate() {
            match item.as_str().ok_or(ValidationError::new("must be a string")).and_then(Scope::new) {
                Ok(scope) => scopes.push(scope),
                Err(rule) => errors.push(ValueError { path: format!("/{index}"), rule }),
            }
        }
        if errors.is_empty() { Self::new(scopes).map_err(value_error) } else { Err(errors) }
    }
}
