//! Schema rules: constraints that a derived schema cannot express, stated beside the type.

use std::borrow::Cow;

use poem_openapi::types::Type;
use serde_json::Value;

/// A type whose fields depend on each other, or whose fields poem-openapi describes too loosely.
pub trait SchemaRules: Type {
    /// Adds the rules to the derived schema.
    fn amend(schema: &mut Value);
}

/// A schema's name and its rules.
pub type NamedRules = (Cow<'static, str>, fn(&mut Value));

pub fn rules_of<T: SchemaRules>() -> NamedRules {
    (T::name(), T::amend)
}
