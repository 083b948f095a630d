//! Security schemes.

use serde_json::{Map, Value};

/// Puts `bearer` first, which every operation takes: tools offer the schemes in this order, Swagger UI as input fields.
pub fn list_bearer_first(document: &mut Value) {
    let Some(Value::Object(schemes)) = document.pointer_mut("/components/securitySchemes") else { return };
    let (first, rest): (Map<_, _>, Map<_, _>) =
        std::mem::take(schemes).into_iter().partition(|(name, _)| name == "bearer");
    *schemes = first.into_iter().chain(rest).collect();
}
