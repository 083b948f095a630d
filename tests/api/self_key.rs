//! Own key: what whoever holds a key can do with nothing else.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, KEYS, Server, id, secret};

const SELF: &str = "/api/auth/api-keys/self";

async fn is_no_good(server: &Server, secret: &str) {
    for method in [Method::GET, Method::DELETE] {
        let answer = server.ask(method, SELF, secret, Value::Null).await;
        answer.problem(401);
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
    }
}

#[tokio::test]
async fn self_get_needs_no_scope() {
    let server = Server::start();
    let alice = server.token_with("alice", &["--organization", "acme"]);
    let body = json!({ "name": "k", "metadata": { "a": 1 }, "expires_at": "2040-01-01T00:00:00Z" });
    let key = server.key(&alice, body).await;
    let answer = server.get(SELF, secret(&key)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!((&answer.body["id"], &answer.body["status"]), (&key["id"], &json!("active")));
    assert_eq!(answer.body["metadata"], json!({ "a": 1 }));
    let owner = json!({ "issuer": "urn:mintkey:standalone", "subject": "alice", "organization": "acme" });
    assert_eq!(answer.body["owner"], owner);
    assert!(!answer.text.contains(secret(&key)) && answer.body.get("key").is_none());

    let as_owner = server.get(&format!("{KEYS}{}", id(&key)), &alice).await;
    let without_use = |answer: &Answer| {
        let mut body = answer.body.clone();
        body["secrets"][0].as_object_mut().unwrap().remove("last_used_at");
        body
    };
    assert_eq!(without_use(&as_owner), without_use(&answer), "as its owner sees it");
    assert_eq!(answer.etag(), as_owner.etag());
    assert_eq!(server.get(&format!("{SELF}/"), secret(&key)).await.status, 200, "with a slash at the end");
    assert_eq!(server.get(&format!("{KEYS}{}", id(&key)), secret(&key)).await.status, 403, "by its id it needs one");
    assert_eq!(server.actions(id(&key)).await, ["created"]);
}

#[tokio::test]
async fn self_with_user_token_is_forbidden() {
    let server = Server::start();
    let alice = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write api-keys:admin"]);
    server.key(&alice, json!({ "name": "k" })).await;
    let before = server.dump().await;
    for method in [Method::GET, Method::DELETE] {
        let answer = server.ask(method.clone(), SELF, &alice, Value::Null).await;
        assert!(answer.problem(403).contains("API key"), "{}", answer.text);
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer error="insufficient_scope""#));
        let nobody = server.ask(method, SELF, "", Value::Null).await;
        nobody.problem(401);
        assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn self_revoke_needs_no_scope() {
    let server = Server::start();
    let alice = server.token("alice");
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let key = server.key(&alice, json!({ "name": "leaked" })).await;
    let other = server.key(&alice, json!({ "name": "other" })).await;
    assert_eq!(server.code(&gateway, secret(&key)).await, "VALID");

    let answer = server.ask(Method::DELETE, SELF, secret(&key), Value::Null).await;
    assert_eq!((answer.status.as_u16(), &*answer.text), (204, ""));
    is_no_good(&server, secret(&key)).await;
    assert_eq!(server.code(&gateway, secret(&key)).await, "REVOKED");
    assert_eq!(server.code(&gateway, secret(&other)).await, "VALID");

    let shown = server.get(&format!("{KEYS}{}", id(&key)), &alice).await;
    assert_eq!((shown.status.as_u16(), &shown.body["status"]), (200, &json!("revoked")), "its owner still sees it");
    assert!(shown.body["revoke_reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", shown.text);
    let row = &server.rows("SELECT * FROM api_keys WHERE revoked_at IS NOT NULL").await[0];
    assert_eq!(row.try_get::<String>("", "name").unwrap(), "leaked");
    assert_eq!(row.try_get::<Option<String>>("", "deleted_at").unwrap(), None);
    assert_eq!(server.actions(id(&key)).await, ["created", "revoked"]);
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
    let key = server.key(&alice, json!({ "name": "k" })).await;
    let new = server.rotate(id(&key), &alice, json!({ "grace_seconds": 3600 })).await.body;
    assert_eq!(server.get(SELF, secret(&new)).await.status, 200);
    assert_eq!(server.ask(Method::DELETE, SELF, secret(&key), Value::Null).await.status, 204);
    is_no_good(&server, secret(&key)).await;
    is_no_good(&server, secret(&new)).await;
}

#[tokio::test]
async fn self_revoke_concurrent_is_audited_once() {
    let server = Server::start();
    let key = server.key(&server.token("alice"), json!({ "name": "k" })).await;
    let delete = || server.ask(Method::DELETE, SELF, secret(&key), Value::Null);
    let answers = futures_util::future::join_all((0..8).map(|_| delete())).await;
    assert!(answers.iter().any(|answer| answer.status == 204));
    assert!(answers.iter().all(|answer| [204, 401].contains(&answer.status.as_u16())));
    assert_eq!(server.actions(id(&key)).await, ["created", "revoked"]);
}

#[tokio::test]
async fn self_with_inactive_key_is_unauthorized() {
    let server = Server::start();
    let alice = server.token("alice");
    let mut keys = Vec::new();
    for name in ["revoked", "disabled", "deleted", "rotated", "expired"] {
        let lifetime = if name == "expired" { 1 } else { 3600 };
        let key = server.key(&alice, json!({ "name": name, "expires_in_seconds": lifetime })).await;
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
        is_no_good(&server, secret(key)).await;
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn self_with_other_method_is_405() {
    let server = Server::start();
    let key = server.key(&server.token("alice"), json!({ "name": "k" })).await;
    for method in [Method::POST, Method::PUT, Method::PATCH] {
        let answer = server.ask(method, SELF, secret(&key), json!({ "name": "x" })).await;
        answer.problem(405);
        assert_eq!(answer.header("allow"), Some("DELETE, GET, HEAD"));
    }
}
