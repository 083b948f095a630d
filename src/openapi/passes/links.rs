//! Links: the operations that take the id of a new key.

use serde_json::{Map, Value, json};

use crate::openapi::passes::operation;

const BY_ID: [&str; 6] = [
    "get_my_api_key",
    "update_my_api_key",
    "rotate_my_api_key",
    "revoke_my_api_key",
    "delete_my_api_key",
    "get_my_api_key_usage",
];

/// Links the response of a create to the operations on the created key.
pub fn add_response_links(document: &mut Value) {
    let mut links = Map::new();
    for id in BY_ID {
        let id = operation(document, id)["operationId"].clone();
        let name = id.as_str().unwrap_or_default().to_owned();
        links.insert(name, json!({ "operationId": id, "parameters": { "id": "$response.body#/id" } }));
    }
    operation(document, "create_my_api_key")["responses"]["201"]["links"] = links.into();
}
