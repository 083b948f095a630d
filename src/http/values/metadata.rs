//! Metadata, as an object of anything.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use serde_json::{Value, json};

use crate::domain::metadata::Metadata;
use crate::domain::validation::ValidationError;
use crate::http::values::{FromJson, ValueError, json_value, value_error};

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
            Value::Object(object) => Self::new(object).map_err(value_error),
            _ => Err(value_error(ValidationError::new("must be an object"))),
        }
    }
}
