//! Update by API keys, and by users with fewer scopes than the key: a caller cannot grant more than it has.

use serde_json::json;

use crate::support::{Server, id, secret};

#[tokio::test]
async fn update_by_key_adds_only_its_own_scopes() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write api-keys:admin"]);
    let caller = server.create_key_from(&token, json!({ "name": "c", "scopes": ["api-keys:write", "a"] })).await;
    let target = server.create_key_from(&token, json!({ "name": "t", "scopes": ["b", "api-keys:admin"] })).await;
    for (key, scopes, lacks) in [
        (&caller, json!(["api-keys:write", "a", "c"]), "c"),
        (&caller, json!(["api-keys:write", "api-keys:read"]), "api-keys:read"),
        (&target, json!(["b", "api-keys:admin"]), "b"),
        (&target, json!([]), "b"),
        (&target, json!(["b", "api-keys:admin", "c"]), "b"),
        (&target, json!(["b", "api-keys:admin", "a"]), "b"),
        (&target, json!(["api-keys:read"]), "b"),
    ] {
        let before = server.dump().await;
        let response = server.patch(id(key), secret(&caller), json!({ "name": "no", "scopes": scopes })).await;
        response.assert_missing_scope(lacks);
        assert_eq!(server.dump().await, before);
    }
    let weaker = server.create_key(&token, &[]).await;
    let added = server.patch(id(&weaker), secret(&caller), json!({ "scopes": ["a"] })).await;
    assert_eq!(added.body["scopes"], json!(["a"]), "{}", added.text);
}

#[tokio::test]
async fn update_by_user_adds_only_held_reserved_scopes() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:read"]);
    let key = server.create_key(&token, &[]).await;
    let response = server.patch(id(&key), &token, json!({ "scopes": ["api-keys:admin"] })).await;
    response.assert_problem(403);
    let response = server.patch(id(&key), &token, json!({ "scopes": ["api-keys:read", "anything"] })).await;
    assert_eq!(response.status, 200, "{}", response.text);
}

#[tokio::test]
async fn update_by_key_is_capped_at_callers_expiry() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:write"]);
    let body = json!({ "name": "c", "scopes": ["api-keys:write"], "expires_in_seconds": 3600 });
    let caller = server.create_key_from(&token, body).await;
    let target = server.create_key_from(&token, json!({ "name": "t", "expires_in_seconds": 60 })).await;
    for key in [&caller, &target] {
        let before = server.dump().await;
        let response = server.patch(id(key), secret(&caller), json!({ "expires_at": "2040-01-01T00:00:00Z" })).await;
        response.assert_violations(&["/expires_at"]);
        assert_eq!(server.dump().await, before);
        let endless = server.patch(id(key), secret(&caller), json!({ "expires_at": null })).await;
        let end = endless.body["expires_at"].as_str();
        assert!(endless.status == 422 || end == caller["expires_at"].as_str(), "{}", endless.text);
    }
    let lasting = server.create_key_from(&token, json!({ "name": "l" })).await;
    let renamed = server.patch(id(&lasting), secret(&caller), json!({ "name": "renamed" })).await;
    assert_eq!(renamed.status, 200, "what is not touched may stay: {}", renamed.text);
    assert!(renamed.body.get("expires_at").is_none());
}

#[tokio::test]
async fn update_by_key_can_disable_but_not_enable_itself() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:write"]);
    let key = server.create_key(&token, &["api-keys:write"]).await;
    assert_eq!(server.patch(id(&key), secret(&key), json!({ "enabled": false })).await.body["status"], "disabled");
    server.patch(id(&key), secret(&key), json!({ "enabled": true })).await.assert_problem(401);
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "disabled"]);
}

#[tokio::test]
async fn update_by_key_requires_write_scope() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write"]);
    let target = server.create_key(&token, &[]).await;
    for (scope, status) in [("api-keys:read", 403), ("api-keys:write", 200), ("a", 403)] {
        let caller = server.create_key_from(&token, json!({ "name": "c", "scopes": [scope] })).await;
        let response = server.patch(id(&target), secret(&caller), json!({ "name": scope })).await;
        assert_eq!(response.status, status, "{scope}");
        let challenge = r#"Bearer error="insufficient_scope", scope="api-keys:write""#;
        assert_eq!(response.header("www-authenticate"), (status == 403).then_some(challenge));
    }
    assert_eq!(server.audit_actions(id(&target)).await, ["created", "updated"]);
}
