//! Error responses, which are the same in all operations.

use poem::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::http::problem::Problem;
use crate::openapi::passes::{members, operations};

/// Makes one named response of each error status, with an example, and refers to it from the operations.
pub fn name_error_responses(document: &mut Value) {
    let mut named = Map::new();
    for operation in operations(document) {
        for (status, response) in members(operation, "responses").filter(|(status, _)| status.as_str() >= "4") {
            let status = status.parse().expect("responses are listed by status");
            let name = reason_phrase(status).replace(' ', "");
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            let mut response = std::mem::replace(response, reference);
            members(&mut response, "content").for_each(|(_, content)| content["example"] = Problem::example(status));
            named.entry(name).or_insert(response);
        }
    }
    named.sort_keys();
    document["components"]["responses"] = Value::Object(named);
}

fn reason_phrase(status: StatusCode) -> &'static str {
    status.canonical_reason().expect("operations use registered statuses only")
}
