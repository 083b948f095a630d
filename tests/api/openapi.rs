//! The OpenAPI document: printed, served and committed, against the contract, its own examples and real responses.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Response, Server, mintkey, run};

fn printed_document() -> String {
    let printed_document = run(mintkey().arg("openapi"));
    assert!(printed_document.status.success(), "{printed_document:?}");
    String::from_utf8(printed_document.stdout).unwrap()
}

fn document() -> Value {
    serde_norway::from_str(&printed_document()).unwrap()
}

fn read_file(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn openapi_file_matches_printed_document() {
    assert!(
        read_file("openapi.yaml") == printed_document(),
        "openapi.yaml is not what `mintkey openapi` prints: run `make openapi`"
    );
}

#[tokio::test]
async fn openapi_served_matches_printed_document() {
    let server = Server::start();
    for (path, media_type) in [("/openapi.yaml", "application/yaml"), ("/openapi.json", "application/json")] {
        for path in [path.to_owned(), format!("{path}/")] {
            let response = Response::to(server.request(reqwest::Method::GET, &path, "")).await;
            assert_eq!((response.status.as_u16(), response.header("content-type")), (200, Some(media_type)), "{path}");
            let served: Value = serde_norway::from_str(&response.text).unwrap();
            assert_eq!(served, document(), "{path}");
        }
    }
    let yaml = Response::to(server.request(reqwest::Method::GET, "/openapi.yaml", "")).await;
    assert_eq!(yaml.text, printed_document());
}

/// Follows references to their target.
fn resolve<'v>(root: &'v Value, value: &'v Value) -> &'v Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is not local"));
            resolve(root, root.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere")))
        }
        None => value,
    }
}

/// Lists where `whole` lacks something of `part` or differs from it.
fn missing(part: (&Value, &Value), whole: (&Value, &Value), at: &str) -> Vec<String> {
    let (expected, found) = (resolve(part.0, part.1), resolve(whole.0, whole.1));
    match (expected, found) {
        (Value::Object(members), Value::Object(_)) => members
            .iter()
            .flat_map(|(name, value)| match found.get(name) {
                Some(found) => missing((part.0, value), (whole.0, found), &format!("{at}/{name}")),
                None => vec![format!("{at}/{name} is absent")],
            })
            .collect(),
        (Value::Array(wanted), Value::Array(there)) => {
            let is_present =
                |value| there.iter().any(|found| missing((part.0, value), (whole.0, found), at).is_empty());
            wanted.iter().filter(|value| !is_present(*value)).map(|value| format!("{at} lacks {value}")).collect()
        }
        _ if expected == found => Vec::new(),
        _ => vec![format!("{at} is {found}, not {expected}")],
    }
}

/// Removes the descriptions of responses: OpenAPI requires them, and the contract has placeholders.
fn without_prose(mut contract: Value) -> Value {
    let responses = contract["paths"]["/auth/api-keys/"]["post"]["responses"].as_object_mut().unwrap();
    responses.values_mut().for_each(|response| drop(response.as_object_mut().unwrap().remove("description")));
    contract["components"]["responses"]["Problem"].as_object_mut().unwrap().remove("description");
    contract
}

#[test]
fn openapi_contains_contract() {
    let contract =
        without_prose(serde_norway::from_str(&read_file("tests/contract/create-api-key.openapi.yaml")).unwrap());
    let document = document();
    let missing: Vec<_> = ["/servers", "/paths", "/components/schemas", "/components/securitySchemes"]
        .iter()
        .flat_map(|at| {
            let found = document.pointer(at).unwrap_or(&Value::Null);
            missing((&contract, contract.pointer(at).unwrap()), (&document, found), at)
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert_eq!(contract["openapi"], document["openapi"]);
}

#[test]
fn openapi_requires_nothing_beyond_contract() {
    let document = document();
    assert_eq!(document["components"]["schemas"]["ApiKeyCreateRequest"]["required"], json!(["name"]));
    let operation = &document["paths"]["/auth/api-keys/"]["post"];
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    assert_eq!(parameters.filter(|parameter| parameter["required"] == json!(true)).count(), 0);
    assert_eq!(operation["security"], json!([{ "bearer": [] }]));
}

#[test]
fn openapi_comparison_finds_missing_and_different() {
    let part = json!({ "a": { "$ref": "#/b" }, "b": { "c": ["x", { "d": 1 }] } });
    let differs = |whole: Value| missing((&part, &part), (&whole, &whole), "");
    assert!(differs(json!({ "a": { "c": [{ "d": 1, "e": 2 }, "x", "y"] }, "b": { "$ref": "#/a" } })).is_empty());
    assert_eq!(differs(json!({ "b": { "c": ["x", { "d": 1 }] } })), ["/a is absent"]);
    assert_eq!(differs(json!({ "a": { "c": ["x"] }, "b": { "c": ["x", { "d": 1 }] } })).len(), 1);
    assert_eq!(differs(json!({ "a": 1, "b": { "c": ["x", { "d": 1 }] } })).len(), 1);
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        item.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    operations.collect()
}

#[test]
fn openapi_describes_every_operation() {
    let document = document();
    let mut ids = Vec::new();
    for (name, operation) in operations(&document) {
        for member in ["operationId", "summary", "description"] {
            assert!(operation[member].as_str().is_some_and(|text| !text.is_empty()), "{name} has no {member}");
        }
        assert!(operation["tags"].as_array().is_some_and(|tags| !tags.is_empty()), "{name} has no tag");
        ids.push(operation["operationId"].as_str().unwrap());
    }
    ids.sort_unstable();
    assert!(!ids.is_empty() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:?}");
    assert!(document["components"]["securitySchemes"]["bearer"].is_object());
}

#[test]
fn openapi_errors_are_problem_details_in_both_media_types() {
    let document = document();
    for (name, operation) in operations(&document) {
        let mut errors = 0;
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{name} {status}");
            if status.as_str() < "400" {
                continue;
            }
            errors += 1;
            let content = response["content"].as_object().unwrap();
            let mut media_types: Vec<_> = content.keys().map(String::as_str).collect();
            media_types.sort_unstable();
            assert_eq!(media_types, ["application/json", "application/problem+json"], "{name} {status}");
            for media_type in content.values() {
                let reference = media_type["schema"]["$ref"].as_str();
                assert_eq!(reference, Some("#/components/schemas/ProblemDetail"), "{name} {status}");
            }
        }
        assert!(errors > 0, "{name}");
    }
}

#[test]
fn openapi_responses_have_request_id_and_examples() {
    let document = document();
    for (name, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            assert!(response["headers"]["X-Request-Id"].is_object(), "{name} {status}");
            let described = [response, &operation["requestBody"]];
            let contents = described.iter().filter_map(|body| body["content"].as_object()).flatten();
            for (media_type, content) in contents {
                let schema = resolve(&document, &content["schema"]);
                let example = content.get("example").or(schema.get("example"));
                assert!(example.is_some(), "{name} {status} {media_type}");
            }
        }
    }
}

/// Client generators fail on each of these.
#[test]
fn openapi_uses_only_what_generators_support() {
    let document = document();
    let known = ["int32", "int64", "date", "date-time", "uuid"];
    let text = serde_json::to_string(&document).unwrap();
    for format in text.split(r#""format":""#).skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(known.contains(&format), "{format}");
    }
    for (name, operation) in operations(&document) {
        // More than one media type of a body is a choice between types, unless all have one schema.
        let content = operation["requestBody"]["content"].as_object().into_iter().flatten();
        let mut schemas: Vec<_> = content.map(|(_, content)| content["schema"].to_string()).collect();
        schemas.dedup();
        assert!(schemas.len() <= 1, "{name} takes bodies of several types: {schemas:?}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for choice in ["oneOf", "anyOf"] {
            assert!(schema.get(choice).is_none(), "{name} is one of several types");
        }
        for (property, value) in schema["properties"].as_object().into_iter().flatten() {
            // openapi-generator for Java initializes such an array with an empty one, and sends it.
            let is_required = schema["required"].as_array().is_some_and(|names| names.contains(&json!(property)));
            let may_be_empty = is_required || value.get("minItems").is_none() || value["nullable"] == true;
            assert!(may_be_empty, "{name}/{property} cannot be sent as an empty array");
        }
    }
}

#[test]
fn openapi_create_declares_every_status_and_header() {
    let document = document();
    let responses = &document["paths"]["/auth/api-keys/"]["post"]["responses"];
    for (status, headers) in [
        ("201", ["Location", "Cache-Control"].as_slice()),
        ("400", &[]),
        ("401", &["WWW-Authenticate"]),
        ("403", &["WWW-Authenticate"]),
        ("404", &[]),
        ("408", &[]),
        ("413", &[]),
        ("415", &[]),
        ("422", &[]),
        ("500", &[]),
        ("503", &["Retry-After"]),
    ] {
        let response = resolve(&document, &responses[status]);
        assert!(response.is_object(), "{status}");
        for header in headers {
            assert!(response["headers"][header].is_object(), "{status} {header}");
        }
    }
}

/// A client that is generated can send only what is declared.
#[test]
fn openapi_declares_headers_that_operations_read() {
    let document = document();
    let mut conditional = 0;
    for (name, operation) in operations(&document) {
        let parameters: Vec<_> = operation["parameters"].as_array().into_iter().flatten().collect();
        let has = |header: &str| {
            parameters.iter().any(|p| p["name"] == header && p["in"] == "header" && p["required"] == json!(false))
        };
        let saves_its_response = operation.to_string().contains("Idempotency-Replayed");
        assert_eq!(has("Idempotency-Key"), saves_its_response, "{name}");
        assert_eq!(has("If-Match"), operation["responses"].get("412").is_some(), "{name}");
        conditional += usize::from(has("If-Match"));
    }
    assert!(conditional > 6, "{conditional}");
}

/// Validates against the schema as JSON Schema draft 4, on which OpenAPI 3.0 is based.
fn schema_errors(document: &Value, schema: &Value, instance: &Value) -> Vec<String> {
    let schema = json!({ "allOf": [schema], "components": document["components"] });
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft4).should_validate_formats(true);
    let validator = options.build(&schema).unwrap_or_else(|error| panic!("{error}"));
    validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Collects every example below this value, with its location and its schema.
fn examples<'v>(value: &'v Value, at: &str, found: &mut Vec<(String, &'v Value, &'v Value)>) {
    match value {
        Value::Object(members) => {
            let schema = members.get("schema").unwrap_or(value);
            if members.contains_key("type") || members.contains_key("schema") {
                found.extend(members.get("example").map(|example| (format!("{at}/example"), schema, example)));
                for (name, example) in members.get("examples").and_then(Value::as_object).into_iter().flatten() {
                    found.push((format!("{at}/examples/{name}"), schema, &example["value"]));
                }
            }
            let below = members.iter().filter(|(name, _)| !["example", "examples"].contains(&name.as_str()));
            below.for_each(|(name, value)| examples(value, &format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| examples(item, &format!("{at}/{n}"), found))
        }
        _ => {}
    }
}

#[test]
fn openapi_examples_match_their_schemas() {
    let document = document();
    let mut found = Vec::new();
    examples(&document, "", &mut found);
    assert!(found.len() >= 5, "{found:?}");
    for (at, schema, example) in found {
        let errors = schema_errors(&document, schema, example);
        assert!(errors.is_empty(), "{at}: {errors:?}");
    }
}

#[tokio::test]
async fn openapi_schemas_match_real_responses() {
    let server = Server::start();
    let token = server.token("alice");
    let document = document();
    let responses = &document["paths"]["/auth/api-keys/"]["post"]["responses"];
    let request = &document["components"]["schemas"]["ApiKeyCreateRequest"];
    let full = json!({ "name": "x", "scopes": ["a"], "metadata": { "a": [1] }, "expires_at": "2040-01-01T00:00:00Z" });
    for (credential, body, status) in [
        (&*token, request["example"].clone(), 201),
        (&*token, full, 201),
        (&*token, json!([]), 400),
        ("", json!({}), 401),
        ("garbled", json!({}), 401),
        (&*token, json!({ "name": "x", "scopes": ["api-keys:admin"] }), 403),
        (&*token, json!({ "name": "", "owner": "bob" }), 422),
    ] {
        let response = server.create(credential, body.clone()).await;
        assert_eq!(response.status, status, "{body}");
        let media_type = response.header("content-type").unwrap();
        let declared = resolve(&document, &responses[status.to_string()]);
        let schema = &declared["content"][media_type]["schema"];
        assert!(schema.is_object(), "{status} {media_type}");
        let errors = schema_errors(&document, schema, &response.body);
        assert!(errors.is_empty(), "{body}: {errors:?}");
        for (name, header) in declared["headers"].as_object().into_iter().flatten() {
            assert!(header["required"] != true || response.header(name).is_some(), "{status} has no {name}");
        }
    }
}

#[test]
fn openapi_create_schema_rejects_invalid_bodies() {
    let document = document();
    let schema = &document["components"]["schemas"]["ApiKeyCreateRequest"];
    let is_bad = |body: Value| !schema_errors(&document, schema, &body).is_empty();
    assert!(!is_bad(json!({ "name": "example", "expires_in_seconds": 1 })));
    for bad in [
        json!({}),
        json!({ "name": "" }),
        json!({ "name": " " }),
        json!({ "name": 5 }),
        json!({ "name": "a\u{1b}b" }),
        json!({ "name": "x".repeat(256) }),
        json!({ "name": "x", "owner": "bob" }),
        json!({ "name": "x", "scopes": ["A b"] }),
        json!({ "name": "x", "scopes": ["a\\b"] }),
        json!({ "name": "x", "scopes": ["x".repeat(256)] }),
        json!({ "name": "x", "scopes": ["a", "a"] }),
        json!({ "name": "x", "metadata": [] }),
        json!({ "name": "x", "expires_in_seconds": 0 }),
    ] {
        assert!(is_bad(bad.clone()), "{bad}");
    }
}
