//! Scopes: the same string in many arrays.

use serde_json::{Value, json};

/// Makes the items of every array of scopes one named schema.
pub fn extract_scope_schema(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    let mut scope = Value::Null;
    for (_, schema) in schemas.as_object_mut().into_iter().flatten() {
        for array in ["/properties/scopes/items", "/properties/any_of/items"] {
            if let Some(items) = schema.pointer_mut(array) {
                scope = std::mem::replace(items, json!({ "$ref": "#/components/schemas/Scope" }));
            }
        }
    }
    assert!(scope.is_object(), "the document has no array of scopes");
    scope["description"] =
        json!("A permission of a key (`scope-token` of RFC 6749, section 3.3), compared exactly, including case.");
    schemas["Scope"] = scope;
}
