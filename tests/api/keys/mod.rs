//! `/api/auth/api-keys`: the keys of the caller's owner, one file per operation.

mod create;
mod delete;
mod descendants;
mod ended;
mod ended_caller;
mod get;
mod idempotency;
mod if_match;
mod list;
mod revoke;
mod rotate;
mod update;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id};

async fn alice() -> (Server, String) {
    let server = Server::start();
    let token = server.token("alice");
    (server, token)
}

const READ_AND_WRITE: &str = "api-keys:read api-keys:write";

async fn alice_with_scopes() -> (Server, String) {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", READ_AND_WRITE]);
    (server, token)
}

/// Creates a key that can call the operations on keys itself.
async fn key_with_scopes(server: &Server, token: &str) -> Value {
    server.create_key(token, &["api-keys:read", "api-keys:write"]).await
}

async fn get(server: &Server, token: &str, key: &Value) -> Response {
    let response = server.get(&format!("{KEYS}{}", id(key)), token).await;
    assert_eq!(response.status, 200, "{}", response.text);
    response
}

/// Ids that no key can have.
fn malformed_ids() -> [String; 7] {
    ["x", "0", "00000000-0000-0000-0000-000000000000", "%00", "%ff", "..%2f", &"a".repeat(300)].map(str::to_owned)
}

/// Checks that no operation accepts this secret any more.
async fn assert_refused(server: &Server, secret: &str) {
    for (method, path) in [(Method::GET, KEYS), (Method::GET, "/api/auth/audit-events"), (Method::POST, KEYS)] {
        let body = if method == Method::POST { json!({ "name": "x" }) } else { Value::Null };
        let response = server.call(method, path, secret, body).await;
        response.assert_invalid_token();
    }
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("no time: {value}")).parse().unwrap()
}
