//! Scopes: the same string in many arrays.

use serde_json::{Value, json};

/// Makes the items of every `scopes` array one named schema.
pub fn extract_scope_schema(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    let mut scope = Value::Null;
    for (_, schema) in schemas.as_object_mut().into_iter().flatten() {
        if let Some(items) = schema.pointer_mut("/properties/scopes/items") {
            scope = std::mem::replace(items, json!({ "$ref": "#/components/schemas/Scope" }));
        }
    }
    assert!(scope.is_object(), "the document has no array of scopes");
    scope["description"] = json!("A permission of a key, compared exactly.");
    schemas["Scope"] = scope;
}
