//! Updates that give a key life or power back: they need every scope that the key then has to be the caller's to grant.

use serde_json::{Value, json};

use crate::support::{Server, id, secret};

/// Changes the row of a key, as time or an earlier request would have.
async fn set(server: &Server, change: &str) {
    server.execute(&format!("UPDATE api_keys SET {change}")).await;
}

const EXPIRED: &str = "expires_at = created_at";
const DISABLED: &str = "enabled = false";

#[tokio::test]
async fn update_by_user_restores_no_key_beyond_its_scopes() {
    for (state, patch) in [
        (EXPIRED, json!({ "expires_at": null })),
        (EXPIRED, json!({ "expires_at": "2040-01-01T00:00:00Z" })),
        (DISABLED, json!({ "enabled": true })),
        (DISABLED, json!({ "enabled": true, "scopes": ["api-keys:admin"], "name": "n" })),
        (DISABLED, json!({ "expires_at": null })),
        ("enabled = true", json!({ "expires_at": null })),
        ("enabled = true", json!({ "expires_at": "2035-01-01T00:00:01Z" })),
        ("enabled = true", json!({ "scopes": ["a", "api-keys:admin", "b"] })),
    ] {
        let server = Server::start();
        let (admin, eve) = (server.token_with("eve", &["--scopes", "api-keys:admin"]), server.token("eve"));
        let body = json!({ "name": "k", "scopes": ["a", "api-keys:admin"], "expires_at": "2035-01-01T00:00:00Z" });
        let key = server.create_key_from(&admin, body).await;
        set(&server, state).await;

        let before = server.dump().await;
        server.patch(id(&key), &eve, patch.clone()).await.assert_missing_scope("api-keys:admin");
        assert_eq!(server.dump().await, before, "{state}, {patch}");

        let by_admin = server.patch(id(&key), &admin, patch.clone()).await;
        assert_eq!(by_admin.status, 200, "{state}, {patch}: {}", by_admin.text);
        assert_ne!(server.dump().await, before);
    }
}

#[tokio::test]
async fn update_by_user_restores_a_key_once_its_scopes_are_dropped() {
    let server = Server::start();
    let (admin, eve) = (server.token_with("eve", &["--scopes", "api-keys:admin"]), server.token("eve"));
    let key = server.create_key(&admin, &["a", "api-keys:admin"]).await;
    set(&server, EXPIRED).await;
    let patch = json!({ "scopes": ["a"], "expires_at": null });
    let response = server.patch(id(&key), &eve, patch).await;
    assert_eq!(response.status, 200, "{}", response.text);
    assert_eq!((&response.body["scopes"], &response.body["status"]), (&json!(["a"]), &json!("active")));
}

/// Patches that take something away, each from an active key.
fn restrictions() -> [Value; 4] {
    [
        json!({ "expires_at": "2034-01-01T00:00:00Z" }),
        json!({ "enabled": false }),
        json!({ "scopes": ["a"] }),
        json!({ "scopes": null, "enabled": false, "expires_at": "2033-01-01T00:00:00Z" }),
    ]
}

#[tokio::test]
async fn update_that_restricts_needs_no_scope_of_a_user() {
    let server = Server::start();
    let holder = server.token_with("eve", &["--scopes", "api-keys:admin api-keys:write"]);
    for patch in restrictions() {
        let body = json!({ "name": "k", "scopes": ["a", "api-keys:admin"], "expires_at": "2035-01-01T00:00:00Z" });
        let key = server.create_key_from(&holder, body).await;
        let response = server.patch(id(&key), &server.token("eve"), patch.clone()).await;
        assert_eq!(response.status, 200, "{patch}: {}", response.text);
        assert_eq!(server.audit_actions(id(&key)).await.len(), 2 + usize::from(patch.as_object().unwrap().len() > 2));
    }
}

/// Otherwise it could take the scopes from a stronger key, and then its secret.
#[tokio::test]
async fn update_by_key_weakens_no_stronger_key() {
    let server = Server::start();
    let holder = server.token_with("eve", &["--scopes", "api-keys:admin api-keys:write"]);
    let weak_key = server.create_key(&holder, &["api-keys:write"]).await;
    let body = json!({ "name": "k", "scopes": ["a", "api-keys:admin"], "expires_at": "2035-01-01T00:00:00Z" });
    let key = server.create_key_from(&holder, body).await;
    for patch in restrictions().into_iter().chain([json!({}), json!({ "enabled": true }), json!({ "scopes": [] })]) {
        let before = server.dump().await;
        let response = server.patch(id(&key), secret(&weak_key), patch.clone()).await;
        response.assert_missing_scope("a");
        assert_eq!(server.dump().await, before, "{patch}");
    }
    assert_eq!(server.revoke(id(&key), secret(&weak_key), Value::Null).await.status, 200);
}

#[tokio::test]
async fn update_of_name_and_metadata_by_user_needs_no_scope() {
    let server = Server::start();
    let admin = server.token_with("eve", &["--scopes", "api-keys:admin"]);
    let key = server.create_key(&admin, &["api-keys:admin"]).await;
    let response = server.patch(id(&key), &server.token("eve"), json!({ "name": "n", "metadata": { "a": 1 } })).await;
    assert_eq!((response.status.as_u16(), &response.body["metadata"]), (200, &json!({ "a": 1 })), "{}", response.text);
}

#[tokio::test]
async fn update_by_key_changes_no_stronger_key() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:write"]);
    let caller = server.create_key(&token, &["api-keys:write", "a"]).await;
    let body = json!({ "name": "s", "scopes": ["a", "payments:write"], "expires_at": "2035-01-01T00:00:00Z" });
    for (state, patch) in [
        ("enabled = true", json!({ "name": "n" })),
        ("enabled = true", json!({ "metadata": { "a": 1 } })),
        ("enabled = true", json!({ "metadata": { "a": 1 }, "scopes": [] })),
        ("enabled = true", json!({ "expires_at": null })),
        ("enabled = true", json!({ "expires_at": "2036-01-01T00:00:00Z" })),
        ("enabled = false", json!({ "enabled": true })),
        ("enabled = false", json!({ "enabled": true, "scopes": ["a"] })),
        (EXPIRED, json!({ "expires_at": "2036-01-01T00:00:00Z" })),
    ] {
        let stronger = server.create_key_from(&token, body.clone()).await;
        set(&server, &format!("{state} WHERE name = 's'")).await;
        let before = server.dump().await;
        server.patch(id(&stronger), secret(&caller), patch.clone()).await.assert_missing_scope("payments:write");
        assert_eq!(server.dump().await, before, "{state}, {patch}");
    }
    let equal = server.create_key(&token, &["a"]).await;
    let patch = json!({ "name": "n", "metadata": { "a": 1 }, "expires_at": "2040-01-01T00:00:00Z" });
    assert_eq!(server.patch(id(&equal), secret(&caller), patch).await.status, 200);
}

#[tokio::test]
async fn update_by_key_gives_no_life_beyond_its_own() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:write"]);
    let body = json!({ "name": "c", "scopes": ["api-keys:write", "a"], "expires_at": "2035-01-01T00:00:00Z" });
    let caller = server.create_key_from(&token, body).await;
    let lasting = server.create_key_from(&token, json!({ "name": "l", "scopes": ["a"] })).await;
    set(&server, "enabled = false WHERE name = 'l'").await;
    let before = server.dump().await;
    for patch in [json!({ "enabled": true }), json!({ "scopes": ["a", "api-keys:write"] })] {
        let response = server.patch(id(&lasting), secret(&caller), patch).await;
        response.assert_problem_type(403, "key-outlives-caller");
        let detail = response.body["detail"].as_str().unwrap();
        assert!(detail.contains("never") && detail.contains("2035-01-01T00:00:00Z"), "{detail}");
        assert_eq!(response.header("www-authenticate"), Some(r#"Bearer error="insufficient_scope""#));
    }
    assert_eq!(server.dump().await, before);

    let kept = server.patch(id(&lasting), secret(&caller), json!({ "expires_at": null })).await;
    assert!(kept.status == 200 && kept.body.get("expires_at").is_none(), "neither longer nor shorter: {}", kept.text);
    assert_eq!(server.dump().await, before);
    let too_late = server.patch(id(&caller), secret(&caller), json!({ "expires_at": "2035-01-01T00:00:01Z" })).await;
    too_late.assert_violations(&["/expires_at"]);
    assert!(too_late.text.contains("2035-01-01T00:00:00Z at the latest"), "{}", too_late.text);
    let shorter = json!({ "expires_at": "2038-01-01T00:00:00Z", "enabled": false });
    let response = server.patch(id(&lasting), secret(&caller), shorter).await;
    assert_eq!(response.status, 200, "shortening, although later than the caller's end: {}", response.text);
}
