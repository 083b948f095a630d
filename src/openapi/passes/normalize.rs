//! Normalization: one spelling where OpenAPI allows several, so that every generator reads the same.

use serde_json::{Map, Value, json};

/// Normalizes every object of the document, however deep.
pub fn normalize(value: &mut Value) {
    match value {
        Value::Object(object) => {
            drop_defaults(object);
            write_header_names(object);
            drop_repeated_description(object);
            normalize_schema(object);
            object.values_mut().for_each(normalize);
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e15) {
                *value = json!(whole as i64);
            }
        }
        _ => {}
    }
}

/// Drops members whose value is the default.
fn drop_defaults(object: &mut Map<String, Value>) {
    object.retain(|name, value| match name.as_str() {
        "deprecated" => *value != json!(false),
        "explode" => *value != json!(true),
        _ => true,
    });
}

fn write_header_names(object: &mut Map<String, Value>) {
    if let Some(Value::Object(headers)) = object.get_mut("headers") {
        *headers = std::mem::take(headers).into_iter().map(|(name, header)| (header_name(&name), header)).collect();
    }
}

/// Drops the `allOf` entry with which poem-openapi repeats the description beside a reference.
fn drop_repeated_description(object: &mut Map<String, Value>) {
    if let Some(Value::Array(all)) = object.get_mut("allOf") {
        all.retain(|schema| schema.as_object().is_none_or(|schema| !schema.keys().eq(["description"])));
    }
}

/// A schema of anything is `true`, and formats are those of the OpenAPI registry.
fn normalize_schema(object: &mut Map<String, Value>) {
    if object.get("additionalProperties") == Some(&json!({})) {
        object.insert("additionalProperties".to_owned(), json!(true));
    }
    let Some(Value::String(format)) = object.get_mut("format") else { return };
    let (registered, is_unsigned) = match format.as_str() {
        "uint16" => ("int32", true),
        "uint64" => ("int64", true),
        "naive-date" => ("date", false),
        other => (other, false),
    };
    *format = registered.to_owned();
    if is_unsigned {
        object.entry("minimum").or_insert(json!(0));
    }
}

/// The header as RFC 9110 writes it.
fn header_name(header: &str) -> String {
    let word = |word: &str| match word.to_ascii_uppercase().as_str() {
        "WWW" => "WWW".to_owned(),
        "ETAG" => "ETag".to_owned(),
        _ => word[..1].to_ascii_uppercase() + &word[1..].to_ascii_lowercase(),
    };
    header.split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_written_as_in_rfc_9110() {
        assert_eq!(
            ["WWW-AUTHENTICATE", "ETAG", "x-auth-org"].map(header_name),
            ["WWW-Authenticate", "ETag", "X-Auth-Org"]
        );
    }

    #[test]
    fn schemas_have_registered_formats_and_whole_bounds() {
        let mut schema = json!({ "type": "integer", "format": "uint64", "maximum": 5.0, "deprecated": false });
        normalize(&mut schema);
        assert_eq!(schema, json!({ "type": "integer", "format": "int64", "maximum": 5, "minimum": 0 }));
    }
}
