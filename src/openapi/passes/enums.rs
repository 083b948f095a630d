//! Enumerations.

use serde_json::Value;

use crate::openapi::passes::schema;

/// Names the values of enumerations that share some: Go generators make constants of one package from them.
pub fn add_enum_varnames(document: &mut Value) {
    for (name, prefix) in [("Action", "Key"), ("VerificationCode", "Code")] {
        let schema = schema(document, name);
        let values = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names: Value = values.map(|value| format!("{prefix}{}", pascal_case(value))).collect();
        schema["x-enum-varnames"] = names;
    }
}

/// Generators take the names as they are, and this case is the one that most languages accept without a warning.
fn pascal_case(value: &str) -> String {
    let word = |word: &str| word[..1].to_ascii_uppercase() + &word[1..].to_ascii_lowercase();
    value.split('_').map(word).collect()
}
