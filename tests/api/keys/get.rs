//! Get: one key as its owner sees it.

use reqwest::Method;
use serde_json::json;

use super::{alice, changed_key, get, malformed_ids, matching, tags_that_do_not_match};
use crate::support::{KEYS, Server, id, nobodys, secret};

#[tokio::test]
async fn get_returns_all_fields_except_secret() {
    let server = Server::start();
    let token = server.token_with("alice", &["--organization", "acme"]);
    let body =
        json!({ "name": "é", "scopes": ["b", "a"], "metadata": { "z": 1, "a": null }, "expires_in_seconds": 60 });
    let key = server.key(&token, body).await;
    let answer = get(&server, &token, &key).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for member in ["id", "name", "scopes", "metadata", "created_at", "expires_at", "start", "last4"] {
        assert_eq!(answer.body[member], key[member], "{member}");
    }
    assert_eq!(answer.body["updated_at"], key["created_at"]);
    assert_eq!((&answer.body["status"], &answer.body["enabled"]), (&json!("active"), &json!(true)));
    let owner = json!({ "issuer": "urn:mintkey:standalone", "subject": "alice", "organization": "acme" });
    assert_eq!(answer.body["owner"], owner);
    for absent in ["key", "revoked_at", "revoked_by", "revoke_reason", "deleted_at", "safe_to_retire"] {
        assert!(answer.body.get(absent).is_none(), "{absent}");
    }
    let shown = json!([{ "start": key["start"], "last4": key["last4"], "created_at": key["created_at"] }]);
    assert_eq!(answer.body["secrets"], shown);
    assert!(!answer.text.contains(&secret(&key)[7..48]));
    assert_eq!(get(&server, &token, &key).await.etag(), answer.etag());
}

#[tokio::test]
async fn get_with_malformed_id_matches_unknown_id() {
    let (server, token) = alice().await;
    let key = server.key(&token, json!({ "name": "x" })).await;
    let absent = server.get(&format!("{KEYS}{}", nobodys()), &token).await;
    let detail = absent.problem(404);
    for malformed in malformed_ids() {
        assert_eq!(server.get(&format!("{KEYS}{malformed}"), &token).await.problem(404), detail, "{malformed}");
    }
    server.get(&format!("{KEYS}{}?x=1", id(&key)), &token).await.problem(400);
}

#[tokio::test]
async fn get_by_key_requires_read_scope() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write"]);
    let target = server.key(&token, json!({ "name": "x" })).await;
    for (scope, status) in [("api-keys:read", 200), ("api-keys:write", 403), ("a", 403)] {
        let caller = server.key(&token, json!({ "name": "c", "scopes": [scope] })).await;
        let answer = server.get(&format!("{KEYS}{}", id(&target)), secret(&caller)).await;
        assert_eq!(answer.status, status, "{scope}");
        let challenge = r#"Bearer error="insufficient_scope", scope="api-keys:read""#;
        assert_eq!(answer.header("www-authenticate"), (status == 403).then_some(challenge));
    }
    assert_eq!(server.actions(id(&target)).await, ["created"]);
}

#[tokio::test]
async fn get_with_if_match_requires_current_revision() {
    let (server, token) = alice().await;
    let (key, [stale, fresh]) = changed_key(&server, &token).await;
    let before = server.dump().await;
    for tag in tags_that_do_not_match(&stale, &fresh) {
        let answer = matching(&server, Method::GET, &token, &key, &[&tag]).await;
        assert_eq!(answer.status, 412, "{tag}: {}", answer.text);
        answer.problem(412);
    }
    assert_eq!(server.dump().await, before);
    let list = format!("{stale}, {fresh}");
    for tags in [vec![&*fresh], vec!["*"], vec![&list], vec![&*stale, &*fresh], vec![" * "]] {
        assert_eq!(matching(&server, Method::GET, &token, &key, &tags).await.status, 200, "{tags:?}");
    }
}
