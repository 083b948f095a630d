//! `/api/auth/api-keys/self`: operations on the key that authenticates the request.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id, secret};

const SELF: &str = "/api/auth/api-keys/self";

async fn assert_unauthorized(server: &Server, secret: &str) {
    for method in [Method::GET, Method::DELETE] {
        let response = server.call(method, SELF, secret, Value::Null).await;
        response.assert_invalid_token();
    }
}

#[tokio::test]
async fn self_get_needs_no_scope() {
    let server = Server::start();
    let alice = server.token_with("alice", &["--organization", "acme"]);
    let body = json!({ "name": "k", "metadata": { "a": 1 }, "expires_at": "2040-01-01T00:00:00Z" });
    let key = server.create_key_from(&alice, body).await;
    let response = server.get(SELF, secret(&key)).await;
    assert_eq!(response.status, 200, "{}", response.text);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!((&response.body["id"], &response.body["status"]), (&key["id"], &json!("active")));
    assert_eq!(response.body["metadata"], json!({ "a": 1 }));
    let owner = json!({ "issuer": "urn:mintkey:standalone", "subject": "alice", "organization": "acme" });
    assert_eq!(response.body["owner"], owner);
    assert!(!response.text.contains(secret(&key)) && response.body.get("key").is_none());

    let as_owner = server.get(&format!("{KEYS}{}", id(&key)), &alice).await;
    let without_use = |response: &Response| {
        let mut body = response.body.clone();
        body["secrets"][0].as_object_mut().unwrap().remove("last_used_at");
        body
    };
    assert_eq!(without_use(&as_owner), without_use(&response), "as its owner sees it");
    assert_eq!(response.etag(), as_owner.etag());
    assert_eq!(server.get(&format!("{SELF}/"), secret(&key)).await.status, 200, "with a slash at the end");
    assert_eq!(server.get(&format!("{KEYS}{}", id(&key)), secret(&key)).await.status, 403, "by its id it needs one");
    assert_eq!(server.audit_actions(id(&key)).await, ["created"]);
}

#[tokio::test]
async fn self_with_user_token_is_forbidden() {
    let server = Server::start();
    let alice = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write api-keys:admin"]);
    server.create_key(&alice, &[]).await;
    let before = server.dump().await;
    for method in [Method::GET, Method::DELETE] {
        let response = server.call(method.clone(), SELF, &alice, Value::Null).await;
        assert!(response.assert_problem(403).contains("API key"), "{}", response.text);
        assert_eq!(response.header("www-authenticate"), Some(r#"Bearer error="insufficient_scope""#));
        let anonymous = server.call(method, SELF, "", Value::Null).await;
        anonymous.assert_unauthenticated();
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn self_revoke_needs_no_scope() {
    let server = Server::start();
    let alice = server.token("alice");
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let key = server.create_key_from(&alice, json!({ "name": "leaked" })).await;
    let other = server.create_key_from(&alice, json!({ "name": "other" })).await;
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");

    let response = server.call(Method::DELETE, SELF, secret(&key), Value::Null).await;
    assert_eq!((response.status.as_u16(), &*response.text), (204, ""));
    assert_unauthorized(&server, secret(&key)).await;
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "REVOKED");
    assert_eq!(server.verify_code(&gateway, secret(&other)).await, "VALID");

    let shown = server.get(&format!("{KEYS}{}", id(&key)), &alice).await;
    assert_eq!((shown.status.as_u16(), &shown.body["status"]), (200, &json!("revoked")), "its owner still sees it");
    assert!(shown.body["revoke_reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", shown.text);
    let row = &server.rows("SELECT * FROM api_keys WHERE revoked_at IS NOT NULL").await[0];
    assert_eq!(row.try_get::<String>("", "name").unwrap(), "leaked");
    assert_eq!(row.try_get::<Option<String>>("", "deleted_at").unwrap(), None);
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "revoked"]);
    let event = &server.rows("SELECT * FROM audit_events WHERE action = 'revoked'").await[0];
    assert_eq!(event.try_get::<String>("", "actor_kind").unwrap(), "key");
    assert_eq!(event.try_get::<uuid::Uuid>("", "actor_key_id").unwrap().to_string(), id(&key));
    assert_eq!(event.try_get::<uuid::Uuid>("", "key_id").unwrap().to_string(), id(&key));
    assert_eq!(server.counts().await, [2, 2, 3]);
}

#[tokio::test]
async fn self_revoke_with_old_secret_revokes_key() {
    let server = Server::start();
    let alice = server.token("alice");
    let key = server.create_key(&alice, &[]).await;
    let new = server.rotate(id(&key), &alice, json!({ "grace_seconds": 3600 })).await.body;
    assert_eq!(server.get(SELF, secret(&new)).await.status, 200);
    assert_eq!(server.call(Method::DELETE, SELF, secret(&key), Value::Null).await.status, 204);
    assert_unauthorized(&server, secret(&key)).await;
    assert_unauthorized(&server, secret(&new)).await;
}

#[tokio::test]
async fn self_revoke_concurrent_is_audited_once() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    let delete = || server.call(Method::DELETE, SELF, secret(&key), Value::Null);
    let responses = futures_util::future::join_all((0..8).map(|_| delete())).await;
    assert!(responses.iter().any(|response| response.status == 204));
    assert!(responses.iter().all(|response| [204, 401].contains(&response.status.as_u16())));
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "revoked"]);
}

#[tokio::test]
async fn self_with_inactive_key_is_unauthorized() {
    let server = Server::start();
    let alice = server.token("alice");
    let mut keys = Vec::new();
    for name in ["revoked", "disabled", "deleted", "rotated", "expired"] {
        let lifetime = if name == "expired" { 1 } else { 3600 };
        let key = server.create_key_from(&alice, json!({ "name": name, "expires_in_seconds": lifetime })).await;
        assert_eq!(server.get(SELF, secret(&key)).await.status, 200, "{name}");
        keys.push(key);
    }
    assert_eq!(server.revoke(id(&keys[0]), &alice, Value::Null).await.status, 200);
    assert_eq!(server.patch(id(&keys[1]), &alice, json!({ "enabled": false })).await.status, 200);
    assert_eq!(server.delete(id(&keys[2]), &alice).await.status, 204);
    assert_eq!(server.rotate(id(&keys[3]), &alice, Value::Null).await.status, 201);
    tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
    let before = server.dump().await;
    for key in &keys {
        assert_unauthorized(&server, secret(key)).await;
    }
    assert_eq!(server.dump().await, before);
}

/// The database is changed as another replica may do between the authentication and the operation.
#[tokio::test]
async fn self_of_key_deleted_meanwhile_is_unauthorized() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    assert_eq!(server.get(SELF, secret(&key)).await.status, 200);
    server.execute("UPDATE api_keys SET deleted_at = created_at").await;
    let before = server.dump().await;
    assert_unauthorized(&server, secret(&key)).await;
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn self_with_other_method_is_405() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    for method in [Method::POST, Method::PUT, Method::PATCH] {
        let response = server.call(method, SELF, secret(&key), json!({ "name": "x" })).await;
        response.assert_problem(405);
        assert_eq!(response.header("allow"), Some("DELETE, GET, HEAD"));
    }
}
