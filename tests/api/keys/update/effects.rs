//! Effects of an update on the use of the key, and concurrent updates.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id, secret};

async fn status(server: &Server, token: &str, key: &Value) -> String {
    server.get(&format!("{KEYS}{}", id(key)), token).await.body["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn update_concurrent_with_same_etag_applies_once() {
    let server = Server::start();
    let token = server.token("alice");
    for round in 0..20 {
        let key = server.create_key(&token, &[]).await;
        let tag = server.get(&format!("{KEYS}{}", id(&key)), &token).await.etag().to_owned();
        let change = |name: &'static str| {
            let request = server.request(Method::PATCH, &format!("{KEYS}{}", id(&key)), &token);
            Response::to(request.header("if-match", &tag).json(&json!({ "name": name })))
        };
        let (one, other) = tokio::join!(change("one"), change("other"));
        let (winner, loser) = if one.status == 200 { (one, other) } else { (other, one) };
        assert_eq!(winner.status, 200, "round {round}: {}", winner.text);
        loser.assert_problem(412);
        let now = server.get(&format!("{KEYS}{}", id(&key)), &token).await;
        assert_eq!((now.etag(), &now.text), (winner.etag(), &winner.text));
        assert_eq!(server.audit_actions(id(&key)).await, ["created", "updated"]);
    }
}

#[tokio::test]
async fn update_concurrent_of_different_fields_applies_all() {
    let server = Server::start();
    let token = server.token("alice");
    let key = server.create_key(&token, &[]).await;
    let change = |body: Value| server.patch(id(&key), &token, body);
    let responses: [Response; 5] = tokio::join!(
        change(json!({ "name": "y" })),
        change(json!({ "scopes": ["a"] })),
        change(json!({ "metadata": { "a": 1 } })),
        change(json!({ "metadata": { "b": 2 } })),
        change(json!({ "expires_at": "2040-01-01T00:00:00Z" })),
    )
    .into();
    assert!(responses.iter().all(|response| response.status == 200));
    let now = server.get(&format!("{KEYS}{}", id(&key)), &token).await.body;
    assert_eq!(
        (&now["name"], &now["scopes"], &now["expires_at"]),
        (&json!("y"), &json!(["a"]), &json!("2040-01-01T00:00:00Z"))
    );
    assert_eq!((&now["metadata"]["a"], &now["metadata"]["b"]), (&json!(1), &json!(2)));
    assert_eq!(server.audit_actions(id(&key)).await.len(), 6);
}

#[tokio::test]
async fn update_disabled_key_is_refused_until_enabled() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:read"]);
    let key = server.create_key(&token, &["api-keys:read"]).await;
    for (enabled, status, http_status) in [(false, "disabled", 401), (true, "active", 200), (false, "disabled", 401)] {
        let response = server.patch(id(&key), &token, json!({ "enabled": enabled })).await;
        assert_eq!((&response.body["enabled"], &response.body["status"]), (&json!(enabled), &json!(status)));
        assert_eq!(server.get(KEYS, secret(&key)).await.status, http_status);
    }
    let again = server.patch(id(&key), &token, json!({ "enabled": false })).await;
    assert_eq!(again.status, 200);
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "disabled", "enabled", "disabled"]);
    let both = server.patch(id(&key), &token, json!({ "enabled": true, "name": "y" })).await;
    assert_eq!(both.status, 200);
    assert_eq!(server.audit_actions(id(&key)).await[4..], ["updated", "enabled"]);
}

#[tokio::test]
async fn update_removed_scope_is_gone_at_next_request() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:read"]);
    let key = server.create_key(&token, &["api-keys:read"]).await;
    assert_eq!(server.get(KEYS, secret(&key)).await.status, 200);
    assert_eq!(server.patch(id(&key), &token, json!({ "scopes": null })).await.status, 200);
    server.get(KEYS, secret(&key)).await.assert_problem(403);
}

#[tokio::test]
async fn update_with_later_expiry_revives_expired_key() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:read"]);
    let body = json!({ "name": "x", "scopes": ["api-keys:read"], "expires_in_seconds": 1 });
    let key = server.create_key_from(&token, body).await;
    tokio::time::sleep(Duration::from_millis(1050)).await;
    server.get(KEYS, secret(&key)).await.assert_problem(401);
    assert_eq!(status(&server, &token, &key).await, "expired");
    assert_eq!(server.patch(id(&key), &token, json!({ "name": "y" })).await.status, 200);
    let response = server.patch(id(&key), &token, json!({ "expires_at": "2040-01-01T00:00:00Z" })).await;
    assert_eq!(response.body["status"], "active");
    assert_eq!(server.get(KEYS, secret(&key)).await.status, 200);
}

#[tokio::test]
async fn update_of_revoked_key_is_a_conflict() {
    let server = Server::start();
    let token = server.token("alice");
    let key = server.create_key(&token, &[]).await;
    let tag = server.revoke(id(&key), &token, Value::Null).await.etag().to_owned();
    let before = server.dump().await;
    for body in [json!({ "name": "y" }), json!({ "enabled": true }), json!({})] {
        server.patch(id(&key), &token, body).await.assert_problem_type(409, "key-revoked");
    }
    for (if_match, expected) in [(&*tag, 409), ("\"1\"", 412)] {
        let request = server.request(Method::PATCH, &format!("{KEYS}{}", id(&key)), &token);
        Response::to(request.header("if-match", if_match).json(&json!({ "name": "y" }))).await.assert_problem(expected);
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn update_with_scope_not_allowed_is_rejected() {
    let server = Server::start_with(&["--allowed-scopes", "a b"]);
    let token = server.token("alice");
    let key = server.create_key(&token, &["a"]).await;
    let before = server.dump().await;
    for (scopes, pointer) in [(json!(["c"]), "/scopes/0"), (json!(["a", "b", "c"]), "/scopes/2")] {
        let response = server.patch(id(&key), &token, json!({ "scopes": scopes })).await;
        response.assert_violations(&[pointer]);
    }
    assert_eq!(server.dump().await, before);
    assert_eq!(server.patch(id(&key), &token, json!({ "scopes": ["b", "a"] })).await.status, 200);
}
