//! Document: the OpenAPI description. The code's doc comments are its only source; what poem-openapi cannot say is
//! added here, once, for every form in which it is served.

mod examples;
pub mod swagger_ui;

use poem::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::api::service;
use crate::http::problem::Problem;
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
        trace_answers(&mut document);
        tidy(&mut document);
        state_rules(&mut document["components"]["schemas"]);
        name_scopes(&mut document["components"]["schemas"]);
        name_values(&mut document["components"]["schemas"]);
        examples::complete(&mut document["components"]["schemas"]);
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

/// ObjectReader that a request schema does not name are refused, and the document says so. What an absent member means is
/// said in words: many a generator takes a member with a default for one that is always there.
fn close_request_schemas(document: &mut Value) {
    for (name, schema) in objects(&mut document["components"], "schemas") {
        if name.ends_with("Request") {
            schema["additionalProperties"] = json!(false);
            objects(schema, "properties").filter_map(|(_, member)| member.as_object_mut()).for_each(|member| {
                member.remove("default");
            });
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
    // `anyOf` would say it the other way round, and generators would ask for one type out of four.
    schemas["ApiKeyBulkRevokeRequest"]["not"] = json!({
        "properties": { "reason": {}, "dry_run": {} },
        "additionalProperties": false,
    });
    for member in ["scopes", "metadata", "expires_at"] {
        schemas["ApiKeyUpdateRequest"]["properties"][member]["nullable"] = json!(true);
    }
    let changes = &mut schemas["AuditEvent"]["properties"]["changes"];
    changes["type"] = json!("object");
    changes["additionalProperties"] = json!(true);
}

/// The same string in many arrays: one type.
fn name_scopes(schemas: &mut Value) {
    let mut scope = Value::Null;
    for (_, schema) in schemas.as_object_mut().into_iter().flatten() {
        if let Some(items) = schema.pointer_mut("/properties/scopes/items") {
            scope = std::mem::replace(items, json!({ "$ref": "#/components/schemas/Scope" }));
        }
    }
    scope["description"] = json!("What a key may be used for, matched exactly.");
    schemas["Scope"] = scope;
}

/// Names for the values of enumerations that share some: in Go, constants of one package.
fn name_values(schemas: &mut Value) {
    for (schema, prefix) in [("Action", "KEY"), ("VerificationCode", "CODE")] {
        let values = schemas[schema]["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let names: Value = values.map(|value| format!("{prefix}_{}", value.to_ascii_uppercase())).collect();
        schemas[schema]["x-enum-varnames"] = names;
    }
}

/// What can be done next with the id of a new key.
fn link_operations(paths: &mut Value) {
    let by_id = [
        "get_my_api_key",
        "update_my_api_key",
        "rotate_my_api_key",
        "revoke_my_api_key",
        "delete_my_api_key",
        "get_my_api_key_usage",
    ];
    let link = |operation| json!({ "operationId": operation, "parameters": { "id": "$response.body#/id" } });
    let links: Map<String, Value> = by_id.iter().map(|operation| ((*operation).to_owned(), link(operation))).collect();
    paths["/auth/api-keys/"]["post"]["responses"]["201"]["links"] = links.into();
}

/// Every answer says the request's id.
fn trace_answers(document: &mut Value) {
    let header = json!({
        "description": "The id of the request, as the service's log has it: the one that the request set, or a new one.",
        "required": true,
        "schema": { "type": "string" },
    });
    document["components"]["headers"] = json!({ "X-Request-Id": header });
    let trace = |response: &mut Value| {
        if response.get("$ref").is_none() {
            response["headers"]["X-Request-Id"] = json!({ "$ref": "#/components/headers/X-Request-Id" });
        }
    };
    objects(&mut document["components"], "responses").for_each(|(_, response)| trace(response));
    for (_, path) in objects(document, "paths") {
        for operation in path.as_object_mut().into_iter().flat_map(Map::values_mut) {
            objects(operation, "responses").for_each(|(_, response)| trace(response));
        }
    }
}

/// `deprecated: false` and `explode: true` are what their absence means; a schema of anything is `true`; bounds are whole
/// numbers; formats are those of the OpenAPI registry, which every generator knows; and a header is written as RFC 9110
/// writes it.
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
            if object.get("additionalProperties") == Some(&json!({})) {
                object.insert("additionalProperties".to_owned(), json!(true));
            }
            if let Some(Value::String(format)) = object.get_mut("format") {
                let (known, is_unsigned) = match format.as_str() {
                    "uint16" => ("int32", true),
                    "uint64" => ("int64", true),
                    "naive-date" => ("date", false),
                    other => (other, false),
                };
                *format = known.to_owned();
                if is_unsigned {
                    object.entry("minimum").or_insert(json!(0));
                }
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
        "WWW" => "WWW".to_owned(),
        "ETAG" => "ETag".to_owned(),
        _ => word[..1].to_ascii_uppercase() + &word[1..].to_ascii_lowercase(),
    };
    header.split('-').map(word).collect::<Vec<_>>().join("-")
}
