//! Error responses, which are the same in all operations.

use poem::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::api::errors::ErrorStatus;
use crate::http::problem::type_urn;
use crate::openapi::passes::{all_operations, entries};

/// Makes one named response of each error status, with an example, and refers to it from the operations.
pub fn name_error_responses(document: &mut Value) {
    let mut named = Map::new();
    for operation in all_operations(document) {
        for (status, response) in entries(operation, "responses").filter(|(status, _)| status.as_str() >= "4") {
            let status: StatusCode = status.parse().expect("responses are listed by status");
            let name = reason_phrase(status).replace(' ', "");
            let error = ErrorStatus::from_code(status).expect("operations declare error statuses");
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            let mut response = std::mem::replace(response, reference);
            entries(&mut response, "content").for_each(|(_, content)| content["example"] = error.example());
            list_problem_types(&mut response, error);
            named.entry(name).or_insert(response);
        }
    }
    named.sort_keys();
    document["components"]["responses"] = Value::Object(named);
}

/// Adds the values of `type` that a client can act on to the description of the response.
fn list_problem_types(response: &mut Value, error: ErrorStatus) {
    let types = error.problem_types();
    if let (Some(description), false) = (response["description"].as_str(), types.is_empty()) {
        let listed: String =
            types.iter().map(|(slug, meaning)| format!("\n- `{}`: {meaning}", type_urn(slug))).collect();
        response["description"] = format!("{description}\n\nValues of `type` besides `about:blank`:\n{listed}").into();
    }
}

fn reason_phrase(status: StatusCode) -> &'static str {
    status.canonical_reason().expect("operations use registered statuses only")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::Document;
    use crate::service::ConflictReason;

    #[test]
    fn conflict_response_lists_every_reason() {
        let document: Value = serde_json::from_str(&Document::new().to_json()).unwrap();
        let description = document["components"]["responses"]["Conflict"]["description"].as_str().unwrap();
        for reason in ConflictReason::ALL {
            assert!(description.contains(&type_urn(reason.code())), "{}: {description}", reason.code());
        }
    }
}
