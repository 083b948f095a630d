//! Error responses, which are the same in all operations.

use poem::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::api::errors::ErrorStatus;
use crate::openapi::passes::{entries, operations};

/// Makes one named response of each error status, with an example, and refers to it from the operations.
pub fn name_error_responses(document: &mut Value) {
    let mut named = Map::new();
    for operation in operations(document) {
        for (status, response) in entries(operation, "responses").filter(|(status, _)| status.as_str() >= "4") {
            let status: StatusCode = status.parse().expect("responses are listed by status");
            let name = reason_phrase(status).replace(' ', "");
            let example = ErrorStatus::from_code(status).expect("operations declare error statuses").example();
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            let mut response = std::mem::replace(response, reference);
            entries(&mut response, "content").for_each(|(_, content)| content["example"] = example.clone());
            named.entry(name).or_insert(response);
        }
    }
    named.sort_keys();
    document["components"]["responses"] = Value::Object(named);
}

fn reason_phrase(status: StatusCode) -> &'static str {
    status.canonical_reason().expect("operations use registered statuses only")
}
