//! `/api/admin`: keys and audit events of all owners.

mod access;
mod audit;
mod boundaries;
mod bulk_revoke;
mod get;
mod list;
mod revocation_jobs;
mod revoke;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Response, Server};

const KEYS_OF_ALL: &str = "/api/admin/api-keys";
const EVENTS_OF_ALL: &str = "/api/admin/audit-events";

/// A server, an administrator's token, and keys of alice (of acme, two), bob (of acme) and dave.
async fn deployment() -> (Server, String, Vec<Value>) {
    let server = Server::start();
    let carol = server.token_with("carol", &["--scopes", "api-keys:admin"]);
    let mut keys = Vec::new();
    for (subject, organization, name) in [
        ("alice", "acme", "build bot"),
        ("alice", "acme", "deploy bot"),
        ("bob", "acme", "build"),
        ("dave", "", "other"),
    ] {
        let arguments = ["--organization", organization];
        let token = server.token_with(subject, if organization.is_empty() { &[] } else { &arguments });
        keys.push(server.create_key_from(&token, json!({ "name": name })).await);
    }
    (server, carol, keys)
}

async fn names(server: &Server, token: &str, query: &str) -> Vec<String> {
    let response = server.get(&format!("{KEYS_OF_ALL}?{query}"), token).await;
    assert_eq!(response.status, 200, "{query}: {}", response.text);
    let items = response.body["items"].as_array().unwrap();
    assert!(items.iter().all(|key| key.get("secrets").is_none() && key.get("key").is_none()), "{}", response.text);
    items.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

async fn revoke(server: &Server, token: &str, id: &str, body: Value) -> Response {
    server.call(Method::POST, &format!("{KEYS_OF_ALL}/{id}/revoke"), token, body).await
}
