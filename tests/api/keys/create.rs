//! Create: the response, and what is stored.

mod by_keys;
mod expiry;
mod fields;
mod limit;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server};

#[tokio::test]
async fn create_returns_key_as_contract_says() {
    let server = Server::start();
    let response = server.create(&server.token("alice"), json!({ "name": "example" })).await;

    assert_eq!(response.status, 201);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let id = response.body["id"].as_str().unwrap();
    assert_eq!(response.header("location"), Some(id));
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    assert_eq!(response.body["name"], "example");
    let created_at = response.body["created_at"].as_str().unwrap();
    assert!(created_at.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(created_at).is_ok(), "{created_at}");

    let key = response.body["key"].as_str().unwrap();
    assert!(key.starts_with("mk_") && key.len() == 52, "{key}");
    assert_eq!(response.body["start"], key[..7]);
    assert_eq!(response.body["last4"], key[48..]);
}

#[tokio::test]
async fn create_stores_key_hash_and_audit_event() {
    let server = Server::start();
    let token = server.token_with("alice", &["--organization", "acme"]);
    let key = server.create_key_from(&token, json!({ "name": "example", "scopes": ["projects:read"] })).await;

    let row = &server.rows("SELECT * FROM api_keys").await[0];
    assert_eq!(row.try_get::<String>("", "owner_issuer").unwrap(), "urn:mintkey:standalone");
    assert_eq!(row.try_get::<String>("", "owner_subject").unwrap(), "alice");
    assert_eq!(row.try_get::<String>("", "owner_organization").unwrap(), "acme");
    assert_eq!(row.try_get::<String>("", "scopes").unwrap(), r#"["projects:read"]"#);
    let secret = &server.rows("SELECT * FROM secrets").await[0];
    assert_eq!(secret.try_get::<Vec<u8>>("", "hash").unwrap().len(), 32);
    assert_eq!(secret.try_get::<String>("", "last4").unwrap(), key["last4"].as_str().unwrap());

    let event = &server.rows("SELECT * FROM audit_events").await[0];
    assert_eq!(event.try_get::<String>("", "action").unwrap(), "created");
    assert_eq!(event.try_get::<String>("", "actor_kind").unwrap(), "user");
    assert_eq!(event.try_get::<uuid::Uuid>("", "key_id").unwrap().to_string(), key["id"].as_str().unwrap());
    assert_eq!(event.try_get::<String>("", "client_address").unwrap(), "127.0.0.1");
    let changes: Value = serde_json::from_str(&event.try_get::<String>("", "changes").unwrap()).unwrap();
    assert_eq!(changes["name"], "example");
}

#[tokio::test]
async fn create_accepts_path_with_or_without_trailing_slash() {
    let server = Server::start();
    let token = server.token("alice");
    for path in [KEYS, KEYS.trim_end_matches('/')] {
        let response = Response::to(server.request(Method::POST, path, &token).json(&json!({ "name": "n" }))).await;
        assert_eq!(response.status, 201, "{path}");
    }
    assert_eq!(server.count("api_keys").await, 2);
}
