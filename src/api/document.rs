//! Document: the OpenAPI description. The code's doc comments are its only source; what poem-openapi cannot say is
//! added here, once, for every form in which it is served.

use poem::http::StatusCode;
use serde_json::{Map, Value, json};

use super::problem::Problem;
use super::service;
use crate::service::issuer::Login;

#[derive(Clone)]
pub struct Document(Value);

impl Document {
    pub fn new() -> Self {
        let mut document: Value = serde_json::from_str(&service().spec()).expect("poem-openapi writes JSON");
        document["openapi"] = json!("3.0.3");
        name_problem_responses(&mut document);
        close_request_schemas(&mut document);
        link_operations(&mut document["paths"]);
        tidy(&mut document);
        state_rules(&mut document["components"]["schemas"]);
        Self(document)
    }

    /// The same, with the issuer's login beside the bearer. Only what is served says so: it is the deployment's.
    pub fn with(&self, login: &Login<'_>) -> Self {
        let Self(mut document) = self.clone();
        let scopes: Map<_, _> = login.client.scopes.iter().map(|scope| (scope.clone(), json!(""))).collect();
        document["components"]["securitySchemes"]["login"] = json!({
            "type": "oauth2",
            "description": "Sign in with the issuer, for an access token.",
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": login.endpoints.authorization,
                    "tokenUrl": login.endpoints.token,
                    "scopes": scopes,
                },
            },
        });
        for (_, path) in objects(&mut document, "paths") {
            for operation in path.as_object_mut().into_iter().flat_map(Map::values_mut) {
                if let Some(Value::Array(ways)) = operation.get_mut("security") {
                    ways.push(json!({ "login": [] }));
                }
            }
        }
        Self(document)
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.0).expect("a JSON value can always be written") + "\n"
    }

    pub fn yaml(&self) -> String {
        let yaml = serde_norway::to_string(&self.0).expect("a JSON value can always be written as YAML");
        yaml.lines().map(|line| quote_time(line) + "\n").collect()
    }
}

impl Default for Document {
    fn default() -> Self {
        Self::new()
    }
}

fn objects<'a>(value: &'a mut Value, name: &str) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    value.get_mut(name).and_then(Value::as_object_mut).into_iter().flat_map(Map::iter_mut)
}

/// The failures of an operation are the same in all: each becomes a named response, so that a reader meets it once.
fn name_problem_responses(document: &mut Value) {
    let mut named = Map::new();
    for (_, path) in objects(document, "paths") {
        for operation in path.as_object_mut().into_iter().flat_map(Map::values_mut) {
            for (status, response) in objects(operation, "responses").filter(|(status, _)| status.as_str() >= "4") {
                let status = status.parse().expect("responses are listed by status");
                let name = status_name(status).replace(' ', "");
                let reference = json!({ "$ref": format!("#/components/responses/{name}") });
                let mut response = std::mem::replace(response, reference);
                objects(&mut response, "content")
                    .for_each(|(_, content)| content["example"] = Problem::example(status));
                named.entry(name).or_insert(response);
            }
        }
    }
    named.sort_keys();
    document["components"]["responses"] = Value::Object(named);
}

fn status_name(status: StatusCode) -> &'static str {
    status.canonical_reason().expect("we answer with registered statuses only")
}

/// Members that a request schema does not name are refused, and the document says so.
fn close_request_schemas(document: &mut Value) {
    for (name, schema) in objects(&mut document["components"], "schemas") {
        if name.ends_with("Request") {
            schema["additionalProperties"] = json!(false);
        }
    }
}

/// Rules between the members of a body, and members that `null` clears, which a derived schema cannot say.
fn state_rules(schemas: &mut Value) {
    // Redocly wants what is required to be defined beside it.
    schemas["ApiKeyCreateRequest"]["not"] = json!({
        "required": ["expires_at", "expires_in_seconds"],
        "properties": { "expires_at": {}, "expires_in_seconds": {} },
    });
    for member in ["scopes", "metadata", "expires_at"] {
        schemas["ApiKeyUpdateRequest"]["properties"][member]["nullable"] = json!(true);
    }
    let filters = ["issuer", "subject", "organization", "created_before"];
    let one_of_them = filters.map(|filter| json!({ "required": [filter], "properties": { filter: {} } }));
    schemas["ApiKeyBulkRevokeRequest"]["anyOf"] = json!(one_of_them);
    schemas["AuditEvent"]["properties"]["changes"]["type"] = json!("object");
}

/// What can be done next with the id of a new key.
fn link_operations(paths: &mut Value) {
    let next = ["get_my_api_key", "update_my_api_key", "rotate_my_api_key", "revoke_my_api_key", "delete_my_api_key"];
    let link = |operation| json!({ "operationId": operation, "parameters": { "id": "$response.body#/id" } });
    let links: Map<String, Value> = next.iter().map(|operation| ((*operation).to_owned(), link(operation))).collect();
    paths["/auth/api-keys/"]["post"]["responses"]["201"]["links"] = links.into();
}

/// `deprecated: false` and `explode: true` are what their absence means; bounds are whole numbers; and a header is
/// written as RFC 9110 writes it.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let default = |name: &str, value: &Value| match name {
                "deprecated" => *value == json!(false),
                "explode" => *value == json!(true),
                _ => false,
            };
            object.retain(|name, value| !default(name, value));
            if let Some(Value::Object(headers)) = object.get_mut("headers") {
                *headers =
                    std::mem::take(headers).into_iter().map(|(name, header)| (capitalized(&name), header)).collect();
            }
            // A description beside a reference is written twice: once is enough.
            if let Some(Value::Array(all)) = object.get_mut("allOf") {
                all.retain(|schema| schema.as_object().is_none_or(|schema| !schema.keys().eq(["description"])));
            }
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e15) {
                *value = json!(whole as i64);
            }
        }
        _ => {}
    }
}

/// A bare date and time is a string in YAML 1.2 and a timestamp in YAML 1.1, which many still read.
fn quote_time(line: &str) -> String {
    match line.split_once("example: ") {
        Some((indent, text)) if chrono::DateTime::parse_from_rfc3339(text).is_ok() => {
            format!("{indent}example: '{text}'")
        }
        _ => line.to_owned(),
    }
}

fn capitalized(header: &str) -> String {
    let word = |word: &str| match word.to_ascii_uppercase().as_str() {
        "WWW" | "ID" => word.to_ascii_uppercase(),
        "ETAG" => "ETag".to_owned(),
        _ => word[..1].to_ascii_uppercase() + &word[1..].to_ascii_lowercase(),
    };
    header.split('-').map(word).collect::<Vec<_>>().join("-")
}
