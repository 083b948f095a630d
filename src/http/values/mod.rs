//! Values: the JSON form of domain types. Each type has its check and its schema in one place, so that the document and
//! the code cannot differ.

pub mod duration;
pub mod metadata;
pub mod patch;
pub mod scopes;
pub mod text;
pub mod time;

use poem_openapi::types::{ParseError, ParseResult, Type};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::validation::ValidationError;

/// A type of a field in a request body.
pub trait FromJson: Sized {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>>;
}

/// A violation in a value. `path` is a JSON pointer relative to the value.
pub struct ValueError {
    pub path: String,
    pub rule: ValidationError,
}

fn value_error(rule: ValidationError) -> Vec<ValueError> {
    vec![ValueError { path: String::new(), rule }]
}

/// Implements `Type` with an inline schema.
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

/// Parses a value for poem-openapi. Request bodies are read by
/// [`ObjectReader`](crate::http::body::object_reader::ObjectReader) instead; both apply `from_json`.
pub fn parse_value<T: FromJson + Type>(value: Option<Value>) -> ParseResult<T> {
    let text = |errors: Vec<ValueError>| errors.into_iter().map(|error| error.rule.to_string()).collect::<String>();
    T::from_json(value.unwrap_or_default()).map_err(|errors| ParseError::custom(text(errors)))
}

/// Implements what poem-openapi requires of a type in a schema.
macro_rules! json_value {
    ($type:ty, $name:literal, $schema:expr, |$value:ident| $to_json:expr) => {
        $crate::http::values::schema_type!($type, $name, $schema);

        impl poem_openapi::types::ParseFromJSON for $type {
            fn parse_from_json(value: Option<serde_json::Value>) -> poem_openapi::types::ParseResult<Self> {
                $crate::http::values::parse_value(value)
            }
        }

        impl poem_openapi::types::ToJSON for $type {
            fn to_json(&self) -> Option<serde_json::Value> {
                let $value = self;
                Some($to_json)
            }
        }
    };
}

pub(super) use json_value;

impl FromJson for Uuid {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        let hyphenated = value.as_str().filter(|text| text.len() == uuid::fmt::Hyphenated::LENGTH);
        let rule = ValidationError::new("must be a UUID, such as 0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11");
        hyphenated.and_then(|text| Self::parse_str(text).ok()).ok_or_else(|| value_error(rule))
    }
}

impl FromJson for bool {
    fn from_json(value: Value) -> Result<Self, Vec<ValueError>> {
        value.as_bool().ok_or_else(|| value_error(ValidationError::new("must be true or false")))
    }
}
