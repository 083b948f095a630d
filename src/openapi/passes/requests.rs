//! Request bodies.

use serde_json::{Value, json};

use crate::api::all_schema_rules;
use crate::openapi::passes::{all_operations, entries, schema};

/// States that unknown fields of a JSON body are rejected, and drops the defaults of its fields: many generators take a
/// field with a default for one that is always present. The descriptions say what an absent field means.
pub fn deny_unknown_properties(document: &mut Value) {
    for name in json_request_schemas(document) {
        let schema = schema(document, &name);
        schema["additionalProperties"] = json!(false);
        entries(schema, "properties").filter_map(|(_, field)| field.as_object_mut()).for_each(|field| {
            field.remove("default");
        });
    }
}

/// The names of the schemas that a request body refers to. Forms are left out: OAuth has unknown parameters ignored.
fn json_request_schemas(document: &mut Value) -> Vec<String> {
    let reference = |operation: &mut Value| {
        let reference = operation.pointer("/requestBody/content/application~1json/schema/$ref")?.as_str()?;
        reference.rsplit('/').next().map(str::to_owned)
    };
    all_operations(document).filter_map(reference).collect()
}

/// Adds the rules that the types state beside their derived schemas.
pub fn add_cross_field_rules(document: &mut Value) {
    for (name, amend) in all_schema_rules() {
        amend(schema(document, &name));
    }
}
