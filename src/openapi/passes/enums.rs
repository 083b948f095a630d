//! Enumerations.

use serde_json::Value;

use crate::openapi::passes::schema;

/// Names the values of enumerations that share some: Go generators make constants of one package from them.
pub fn add_enum_varnames(document: &mut Value) {
    for (name, prefix) in [("Action", "KEY"), ("VerificationCode", "CODE")] {
        let schema = schema(document, name);
        let values = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names: Value = values.map(|value| format!("{prefix}_{}", value.to_ascii_uppercase())).collect();
        schema["x-enum-varnames"] = names;
    }
}
