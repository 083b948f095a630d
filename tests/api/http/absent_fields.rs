//! Absent fields: what `null` means in every JSON body that the document declares. Many generated clients send `null` for
//! each field, and for a body, that was not set.

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::support::{Response, Server, id};

const ALL_SCOPES: &str = "api-keys:read api-keys:write api-keys:verify api-keys:admin";

/// An operation with a JSON body.
struct Operation {
    method: Method,
    path: String,
    schema: Value,
    is_optional: bool,
}

impl Operation {
    fn required(&self) -> Vec<&str> {
        self.schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.schema["properties"].as_object().unwrap().iter()
    }

    /// The smallest valid body: the required fields, or one field if some field is.
    fn smallest(&self) -> Map<String, Value> {
        let example = self.schema["example"].as_object().unwrap().iter();
        let required = self.required();
        let one = usize::try_from(self.schema["minProperties"].as_u64().unwrap_or_default()).unwrap();
        let kept = example.clone().filter(|(name, _)| required.contains(&name.as_str())).chain(example.take(one));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Sends this text as the body, to a new key if the path has an id.
    async fn send(&self, server: &Server, token: &str, body: impl Into<reqwest::Body>) -> Response {
        let key = server.create_key_from(token, json!({ "name": "target", "expires_in_seconds": 60 })).await;
        let path = self.path.replace("{id}", id(&key));
        let request = server.request(self.method.clone(), &path, token).header("content-type", "application/json");
        Response::to(request.body(body)).await
    }
}

async fn operations(server: &Server, methods: &[&str]) -> Vec<Operation> {
    let document = server.get("/openapi.json", "").await.body;
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| methods.contains(&name.as_str()))
        {
            let body = &operation["requestBody"];
            let Some(reference) = body["content"]["application/json"]["schema"]["$ref"].as_str() else { continue };
            operations.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: format!("/api{path}"),
                schema: document.pointer(&reference[1..]).unwrap().clone(),
                is_optional: body["required"] == false,
            });
        }
    }
    operations
}

async fn server_with_token() -> (Server, String) {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", ALL_SCOPES]);
    (server, token)
}

/// What does not differ between two requests with the same meaning.
fn meaning(response: &Response) -> (u16, Vec<String>, Vec<Value>) {
    let mut fields: Vec<_> = response.body.as_object().unwrap().keys().cloned().collect();
    fields.sort_unstable();
    let stable = ["name", "status", "scopes", "metadata", "revoke_reason", "valid", "code", "count"];
    (response.status.as_u16(), fields, stable.map(|name| response.body[name].clone()).into())
}

#[tokio::test]
async fn body_that_is_null_is_absent_where_it_is_optional() {
    let (server, token) = server_with_token().await;
    let mut optional = 0;
    for operation in operations(&server, &["post", "patch"]).await {
        for null in ["null", " null", "null\n", "\r\n\t null \t\r\n"] {
            let response = operation.send(&server, &token, null).await;
            if operation.is_optional {
                let absent = operation.send(&server, &token, "").await;
                assert!(absent.status.is_success(), "{}: {}", operation.path, absent.text);
                assert_eq!(meaning(&response), meaning(&absent), "{} {null:?}", operation.path);
            } else {
                response.assert_problem(400);
            }
        }
        for other in ["Null", "nul", "null null", "\u{c}null", "\u{a0}null", "[null]", "\"null\""] {
            operation.send(&server, &token, other).await.assert_problem(400);
        }
        optional += usize::from(operation.is_optional);
    }
    assert!(optional >= 3, "{optional}");
}

#[tokio::test]
async fn optional_field_that_is_null_is_absent_on_post() {
    let (server, token) = server_with_token().await;
    let operations = operations(&server, &["post"]).await;
    assert!(operations.len() >= 6, "{}", operations.len());
    for operation in operations {
        let smallest = operation.smallest();
        let nulls = operation.properties().map(|(name, _)| (name.clone(), Value::Null));
        let filled: Map<_, _> = nulls.chain(smallest.clone()).collect();
        let expected = operation.send(&server, &token, Value::Object(smallest.clone()).to_string()).await;
        assert!(expected.status.is_success(), "{}: {}", operation.path, expected.text);
        let response = operation.send(&server, &token, Value::Object(filled).to_string()).await;
        assert_eq!(meaning(&response), meaning(&expected), "{}: {}", operation.path, response.text);
    }
}

#[tokio::test]
async fn required_field_that_is_null_is_rejected() {
    let (server, token) = server_with_token().await;
    let mut required = 0;
    for operation in operations(&server, &["post"]).await {
        for name in operation.required() {
            let mut body = operation.smallest();
            body.insert(name.to_owned(), Value::Null);
            let response = operation.send(&server, &token, Value::Object(body).to_string()).await;
            response.assert_violations(&[&format!("/{name}")]);
            required += 1;
        }
    }
    assert!(required >= 2, "{required}");
}

#[tokio::test]
async fn field_that_is_null_on_patch_is_cleared_or_rejected() {
    let (server, token) = server_with_token().await;
    let mut fields = 0;
    for operation in operations(&server, &["patch"]).await {
        for (name, schema) in operation.properties() {
            let response = operation.send(&server, &token, json!({ name: null }).to_string()).await;
            if schema["nullable"] == true {
                assert_eq!(response.status, 200, "{name}: {}", response.text);
                let cleared = response.body.get(name).is_none_or(|left| left == &json!([]) || left == &json!({}));
                assert!(cleared, "{name}: {}", response.text);
            } else {
                response.assert_violations(&[&format!("/{name}")]);
            }
            fields += 1;
        }
    }
    assert!(fields >= 5, "{fields}");
}

/// The items of a list, and what the owner of the key puts into its metadata, are no optional fields.
#[tokio::test]
async fn null_within_a_value_is_not_absent() {
    let (server, token) = server_with_token().await;
    let response = server.create(&token, json!({ "name": "x", "scopes": ["a", null] })).await;
    response.assert_violations(&["/scopes/1"]);
    let metadata = json!({ "a": null, "b": [null, { "c": null }] });
    let key = server.create_key_from(&token, json!({ "name": "x", "metadata": metadata })).await;
    assert_eq!(key["metadata"], metadata);
}
