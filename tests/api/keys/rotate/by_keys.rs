//! Rotate by API keys, and by users with fewer scopes than the key: the new secret is a credential, and must not grant
//! more than the caller has.

use serde_json::{Value, json};

use crate::support::{KEYS, Server, id, secret};

const ALL: &str = "api-keys:read api-keys:write api-keys:admin";

async fn server_and_token() -> (Server, String) {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", ALL]);
    (server, token)
}

#[tokio::test]
async fn rotate_by_the_key_itself_succeeds() {
    let (server, token) = server_and_token().await;
    let body = json!({ "name": "k", "scopes": ["api-keys:write", "api-keys:read"], "expires_in_seconds": 3600 });
    let key = server.create_key_from(&token, body).await;
    let new = server.rotate(id(&key), secret(&key), Value::Null).await;
    assert_eq!(new.status, 201, "{}", new.text);
    assert_eq!(new.body["expires_at"], key["expires_at"]);
    server.get(KEYS, secret(&key)).await.assert_problem(401);
    assert_eq!(server.get(KEYS, secret(&new.body)).await.status, 200);

    let event = &server.rows("SELECT * FROM audit_events WHERE action = 'rotated'").await[0];
    assert_eq!(event.try_get::<String>("", "actor_kind").unwrap(), "key");
    assert_eq!(event.try_get::<uuid::Uuid>("", "actor_key_id").unwrap().to_string(), id(&key));
}

#[tokio::test]
async fn rotate_by_key_requires_write_scope() {
    let (server, token) = server_and_token().await;
    let reader = server.create_key_from(&token, json!({ "name": "r", "scopes": ["api-keys:read"] })).await;
    let before = server.dump().await;
    let response = server.rotate(id(&reader), secret(&reader), Value::Null).await;
    response.assert_missing_scope("api-keys:write");
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn rotate_by_key_with_fewer_scopes_is_forbidden() {
    let (server, token) = server_and_token().await;
    let writer = server.create_key_from(&token, json!({ "name": "w", "scopes": ["api-keys:write", "a:read"] })).await;
    for scope in ["api-keys:admin", "payments:write"] {
        let strong = server.create_key_from(&token, json!({ "name": "s", "scopes": ["a:read", scope] })).await;
        let before = server.dump().await;
        let response = server.rotate(id(&strong), secret(&writer), Value::Null).await;
        assert_eq!(response.status, 403, "a secret that carries {scope}: {}", response.body["scopes"]);
        let challenge = format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
        assert_eq!(response.header("www-authenticate"), Some(&*challenge));
        assert_eq!(server.dump().await, before);
    }
    let equal = server.create_key_from(&token, json!({ "name": "e", "scopes": ["a:read"] })).await;
    assert_eq!(server.rotate(id(&equal), secret(&writer), Value::Null).await.status, 201);
}

#[tokio::test]
async fn rotate_by_user_without_reserved_scope_is_forbidden() {
    let (server, token) = server_and_token().await;
    let strong = server.create_key_from(&token, json!({ "name": "s", "scopes": ["api-keys:admin", "a:read"] })).await;
    let plain = server.create_key_from(&token, json!({ "name": "p", "scopes": ["a:read"] })).await;
    let weaker = server.token("alice");
    let before = server.dump().await;
    let response = server.rotate(id(&strong), &weaker, Value::Null).await;
    assert_eq!(response.status, 403, "{}", response.body["scopes"]);
    assert_eq!(server.dump().await, before);
    assert_eq!(server.rotate(id(&plain), &weaker, Value::Null).await.status, 201);
}

#[tokio::test]
async fn rotate_by_key_that_expires_earlier_is_refused() {
    let (server, token) = server_and_token().await;
    let body = json!({ "name": "w", "scopes": ["api-keys:write"], "expires_in_seconds": 60 });
    let writer = server.create_key_from(&token, body).await;
    for lifetime in [json!({ "name": "longer", "expires_in_seconds": 3600 }), json!({ "name": "endless" })] {
        let lasting = server.create_key_from(&token, lifetime).await;
        let before = server.dump().await;
        let response = server.rotate(id(&lasting), secret(&writer), Value::Null).await;
        assert!(
            [403, 409, 422].contains(&response.status.as_u16()),
            "a secret until {:?}",
            response.body["expires_at"]
        );
        assert_eq!(server.dump().await, before);
    }
    let shorter = server.create_key_from(&token, json!({ "name": "shorter", "expires_in_seconds": 30 })).await;
    assert_eq!(server.rotate(id(&shorter), secret(&writer), Value::Null).await.status, 201);
}
