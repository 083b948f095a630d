//! Passes: changes to the document that poem-openapi cannot express, one file for each part that they change.

pub mod enums;
pub mod errors;
pub mod headers;
pub mod links;
pub mod normalize;
pub mod requests;
pub mod security;

use serde_json::{Map, Value};

/// The schema of this name. Panics when there is none, so that renaming a type cannot leave a pass that changes
/// nothing.
pub fn schema<'a>(document: &'a mut Value, name: &str) -> &'a mut Value {
    let schema = document.pointer_mut(&format!("/components/schemas/{name}"));
    schema.unwrap_or_else(|| panic!("the document has no schema {name}"))
}

/// The entries of the object under this name. Empty if it is absent.
pub fn entries<'a>(value: &'a mut Value, name: &str) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    value.get_mut(name).and_then(Value::as_object_mut).into_iter().flat_map(Map::iter_mut)
}

pub fn all_operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    entries(document, "paths").filter_map(|(_, path)| path.as_object_mut()).flat_map(Map::values_mut)
}

/// The operation with this id. Panics when there is none, as [`schema`] does.
pub fn operation<'a>(document: &'a mut Value, id: &str) -> &'a mut Value {
    let operation = all_operations(document).find(|operation| operation["operationId"] == id);
    operation.unwrap_or_else(|| panic!("the document has no operation {id}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    #[should_panic(expected = "the document has no schema Key")]
    fn schema_that_is_absent_fails_by_name() {
        schema(&mut json!({ "components": { "schemas": { "ApiKey": {} } } }), "Key");
    }
}
