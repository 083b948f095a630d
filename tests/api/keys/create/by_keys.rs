//! Create by API keys: the new key has no more than its creator.

use std::time::Duration;

use chrono::DateTime;
use mintkey::domain::secret::{Entropy, Secret, SecretPrefix};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{KEYS, Server, id, secret};

const WRITE: &str = "api-keys:write";

/// A server, and a key of alice's created with this body.
async fn server_and_key(body: Value) -> (Server, Value) {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:write api-keys:read", "--organization", "acme"]);
    let key = server.create_key_from(&token, body).await;
    (server, key)
}

#[tokio::test]
async fn create_by_key_makes_key_of_same_owner() {
    let (server, parent) = server_and_key(json!({ "name": "parent", "scopes": [WRITE, "projects:read"] })).await;
    let child = server.create_key_from(secret(&parent), json!({ "name": "child", "scopes": ["projects:read"] })).await;

    let row = &server.rows("SELECT * FROM api_keys WHERE name = 'child'").await[0];
    assert_eq!(row.try_get::<String>("", "owner_issuer").unwrap(), "urn:mintkey:standalone");
    assert_eq!(row.try_get::<String>("", "owner_subject").unwrap(), "alice");
    assert_eq!(row.try_get::<String>("", "owner_organization").unwrap(), "acme");
    let event = &server.rows("SELECT * FROM audit_events ORDER BY id DESC LIMIT 1").await[0];
    assert_eq!(event.try_get::<String>("", "actor_kind").unwrap(), "key");
    assert_eq!(event.try_get::<uuid::Uuid>("", "actor_key_id").unwrap().to_string(), parent["id"].as_str().unwrap());
    assert_eq!(event.try_get::<uuid::Uuid>("", "key_id").unwrap().to_string(), child["id"].as_str().unwrap());
    assert_eq!(server.counts().await, [2, 2, 2]);
}

#[tokio::test]
async fn create_by_key_without_write_scope_is_forbidden() {
    for scopes in [json!([]), json!(["projects:read"]), json!(["api-keys:read"]), json!(["api-keys:*", "*"])] {
        let token_scopes = &["--scopes", "api-keys:write api-keys:read api-keys:*"];
        let server = Server::start();
        let body = json!({ "name": "reader", "scopes": scopes });
        let reader = server.create_key_from(&server.token_with("alice", token_scopes), body).await;
        server.create(secret(&reader), json!({ "name": "x" })).await.assert_missing_scope(WRITE);
        server.create_raw(secret(&reader), "not even JSON").await.assert_missing_scope(WRITE);
        assert_eq!(server.counts().await, [1, 1, 1]);
    }
}

#[tokio::test]
async fn create_by_key_grants_only_its_own_scopes() {
    let (server, parent) = server_and_key(json!({ "name": "parent", "scopes": [WRITE, "projects:read"] })).await;
    for scope in ["projects:write", "projects:*", "projects", "api-keys:read", "api-keys:admin"] {
        let body = json!({ "name": "x", "scopes": ["projects:read", scope] });
        server.create(secret(&parent), body).await.assert_missing_scope(scope);
    }
    assert_eq!(server.counts().await, [1, 1, 1]);
    server.create_key(secret(&parent), &["projects:read", WRITE]).await;
}

#[tokio::test]
async fn create_by_user_grants_only_held_reserved_scopes() {
    let server = Server::start();
    let token = server.token("alice");
    for scope in ["api-keys:verify", "api-keys:admin", "api-keys:read", WRITE, "api-keys:to-come"] {
        let body = json!({ "name": "x", "scopes": ["projects:read", scope] });
        server.create(&token, body.clone()).await.assert_missing_scope(scope);
        assert_eq!(server.counts().await, [0, 0, 0]);
    }
    let holder = server.token_with("alice", &["--scopes", "api-keys:verify"]);
    let key = server.create_key(&holder, &["api-keys:verify", "anything:else"]).await;
    assert_eq!(key["scopes"], json!(["api-keys:verify", "anything:else"]));
    server
        .create(&holder, json!({ "name": "x", "scopes": ["api-keys:admin"] }))
        .await
        .assert_missing_scope("api-keys:admin");
}

#[tokio::test]
async fn create_by_key_is_capped_at_callers_expiry() {
    let body = json!({ "name": "parent", "scopes": [WRITE], "expires_at": "2040-01-01T00:00:00Z" });
    let (server, parent) = server_and_key(body).await;
    for expiry in ["2040-01-01T00:00:01Z", "2040-01-01T00:00:00.000001Z", "9999-01-01T00:00:00Z"] {
        let response = server.create(secret(&parent), json!({ "name": "x", "expires_at": expiry })).await;
        response.assert_violations(&["/expires_at"]);
    }
    assert_eq!(server.counts().await, [1, 1, 1]);

    let inherited = server.create_key(secret(&parent), &[]).await;
    assert_eq!(inherited["expires_at"], "2040-01-01T00:00:00Z");
    for expiry in ["2040-01-01T00:00:00Z", "2039-12-31T23:59:59Z"] {
        let key = server.create_key_from(secret(&parent), json!({ "name": "x", "expires_at": expiry })).await;
        assert_eq!(key["expires_at"], expiry);
    }
    let stored: DateTime<chrono::Utc> =
        server.rows("SELECT expires_at FROM api_keys ORDER BY id LIMIT 1 OFFSET 1").await[0]
            .try_get("", "expires_at")
            .unwrap();
    assert_eq!(stored, DateTime::parse_from_rfc3339("2040-01-01T00:00:00Z").unwrap());
}

#[tokio::test]
async fn create_by_old_secret_is_capped_at_its_end() {
    let (server, parent) = server_and_key(json!({ "name": "parent", "scopes": [WRITE] })).await;
    let new = server.rotate(id(&parent), secret(&parent), json!({ "grace_seconds": 3600 })).await.body;
    let shown = server.get(&format!("{KEYS}self"), secret(&new)).await.body;
    let end = shown["secrets"][1]["expires_at"].clone();
    assert!(end.is_string() && shown.get("expires_at").is_none(), "{shown}");

    let child = server.create_key(secret(&parent), &[]).await;
    assert_eq!(child["expires_at"], end, "the old secret gives no life beyond its own end");
    let before = server.dump().await;
    let later = server.create(secret(&parent), json!({ "name": "x", "expires_in_seconds": 7200 })).await;
    later.assert_violations(&["/expires_in_seconds"]);
    assert!(later.text.contains(end.as_str().unwrap()), "{}", later.text);
    let extended = server.patch(id(&child), secret(&parent), json!({ "expires_at": "2040-01-01T00:00:00Z" })).await;
    extended.assert_violations(&["/expires_at"]);
    assert_eq!(server.dump().await, before);

    let lasting = server.create_key(secret(&new), &[]).await;
    assert!(lasting.get("expires_at").is_none(), "{lasting}");
    let response = server.rotate(id(&lasting), secret(&parent), Value::Null).await;
    response.assert_problem_type(403, "key-outlives-caller");
}

#[tokio::test]
async fn create_by_key_with_longer_life_is_rejected_at_its_field() {
    let (server, parent) =
        server_and_key(json!({ "name": "parent", "scopes": [WRITE], "expires_in_seconds": 3600 })).await;
    let response = server.create(secret(&parent), json!({ "name": "x", "expires_in_seconds": 7200 })).await;
    response.assert_violations(&["/expires_in_seconds"]);
    assert_eq!(server.counts().await, [1, 1, 1]);
    server.create_key_from(secret(&parent), json!({ "name": "x", "expires_in_seconds": 60 })).await;
}

#[tokio::test]
async fn create_by_unknown_key_is_unauthorized() {
    let (server, key) = server_and_key(json!({ "name": "key", "scopes": [WRITE] })).await;
    let prefix: SecretPrefix = "mk".parse().unwrap();
    let unknown = Secret::mint(&prefix, &Entropy::fixed([7; 32]), DateTime::UNIX_EPOCH).expose().to_owned();
    let good = secret(&key);
    let last = if good.ends_with('0') { '1' } else { '0' };
    let swapped = good.replacen("mk_", "mk2_", 1);
    for bad in [
        unknown,
        format!("{}{last}", &good[..good.len() - 1]),
        swapped,
        good[1..].to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}0"),
        good.to_uppercase(),
        format!("mk_{}", "0".repeat(49)),
        format!("mk_{}", "x".repeat(20_000)),
    ] {
        let response = server.create(&bad, json!({ "name": "x" })).await;
        response.assert_invalid_token();
        assert!(!response.text.contains(&bad));
    }
    assert_eq!(server.counts().await, [1, 1, 1]);
}

#[tokio::test]
async fn create_by_inactive_key_is_unauthorized() {
    for change in ["enabled = false", "revoked_at = created_at", "expires_at = created_at"] {
        let (server, key) = server_and_key(json!({ "name": "key", "scopes": [WRITE] })).await;
        let database = server.database().await;
        database.execute_unprepared(&format!("UPDATE api_keys SET {change}")).await.unwrap();
        server.create(secret(&key), json!({ "name": "x" })).await.assert_invalid_token();
        assert_eq!(server.counts().await, [1, 1, 1], "{change}");
    }
}

#[tokio::test]
async fn create_by_key_of_one_second_stops_working() {
    let (server, key) = server_and_key(json!({ "name": "key", "scopes": [WRITE], "expires_in_seconds": 1 })).await;
    for _ in 0..100 {
        let response = server.create(secret(&key), json!({ "name": "x" })).await;
        if response.status != 201 {
            return response.assert_invalid_token();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a key of one second still works");
}
