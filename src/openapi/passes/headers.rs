//! Headers that every response carries.

use serde_json::{Value, json};

use crate::openapi::passes::{all_operations, entries};

/// Declares `X-Request-Id` once and refers to it from every response.
pub fn add_request_id_header(document: &mut Value) {
    document["components"]["headers"] = json!({
        "X-Request-Id": {
            "description": "The request's id, as logged: the value that the request sent, or a generated one.",
            "required": true,
            "schema": { "type": "string" },
        },
    });
    entries(&mut document["components"], "responses").for_each(|(_, response)| add_header_to(response));
    for operation in all_operations(document) {
        entries(operation, "responses").for_each(|(_, response)| add_header_to(response));
    }
}

fn add_header_to(response: &mut Value) {
    if response.get("$ref").is_none() {
        response["headers"]["X-Request-Id"] = json!({ "$ref": "#/components/headers/X-Request-Id" });
    }
}
