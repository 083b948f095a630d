//! Get: one key as its owner sees it.

use serde_json::json;

use super::{alice, get, malformed_ids};
use crate::support::{KEYS, Server, id, secret, unknown_key};

#[tokio::test]
async fn get_returns_all_fields_except_secret() {
    let server = Server::start();
    let token = server.token_with("alice", &["--organization", "acme"]);
    let body =
        json!({ "name": "é", "scopes": ["b", "a"], "metadata": { "z": 1, "a": null }, "expires_in_seconds": 60 });
    let key = server.create_key_from(&token, body).await;
    let response = get(&server, &token, &key).await;
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    for member in ["id", "name", "scopes", "metadata", "created_at", "expires_at", "start", "last4"] {
        assert_eq!(response.body[member], key[member], "{member}");
    }
    assert_eq!(response.body["updated_at"], key["created_at"]);
    assert_eq!((&response.body["status"], &response.body["enabled"]), (&json!("active"), &json!(true)));
    let owner = json!({ "issuer": "urn:mintkey:standalone", "subject": "alice", "organization": "acme" });
    assert_eq!(response.body["owner"], owner);
    for absent in ["key", "revoked_at", "revoked_by", "revoke_reason", "deleted_at", "safe_to_retire"] {
        assert!(response.body.get(absent).is_none(), "{absent}");
    }
    let shown = json!([{ "start": key["start"], "last4": key["last4"], "created_at": key["created_at"] }]);
    assert_eq!(response.body["secrets"], shown);
    assert!(!response.text.contains(&secret(&key)[7..48]));
    assert_eq!(get(&server, &token, &key).await.etag(), response.etag());
}

#[tokio::test]
async fn get_with_malformed_id_matches_unknown_id() {
    let (server, token) = alice().await;
    let key = server.create_key(&token, &[]).await;
    let absent = server.get(&format!("{KEYS}{}", unknown_key()), &token).await;
    let detail = absent.assert_problem(404);
    for malformed in malformed_ids() {
        assert_eq!(server.get(&format!("{KEYS}{malformed}"), &token).await.assert_problem(404), detail, "{malformed}");
    }
    server.get(&format!("{KEYS}{}?x=1", id(&key)), &token).await.assert_problem(400);
}

#[tokio::test]
async fn get_by_key_requires_read_scope() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write"]);
    let target = server.create_key(&token, &[]).await;
    for (scope, status) in [("api-keys:read", 200), ("api-keys:write", 403), ("a", 403)] {
        let caller = server.create_key_from(&token, json!({ "name": "c", "scopes": [scope] })).await;
        let response = server.get(&format!("{KEYS}{}", id(&target)), secret(&caller)).await;
        assert_eq!(response.status, status, "{scope}");
        let challenge = r#"Bearer error="insufficient_scope", scope="api-keys:read""#;
        assert_eq!(response.header("www-authenticate"), (status == 403).then_some(challenge));
    }
    assert_eq!(server.audit_actions(id(&target)).await, ["created"]);
}
