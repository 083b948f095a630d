//! Rotate by API keys, and by users with fewer scopes than the key: the new secret is a credential, and must not grant
//! more than the caller has.

use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id, secret};

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

/// Checks that this caller cannot rotate the key, and that the attempt changes nothing.
async fn assert_refused(server: &Server, key: &Value, caller: &str, statuses: &[u16]) -> Response {
    let before = server.dump().await;
    let response = server.rotate(id(key), caller, Value::Null).await;
    assert!(statuses.contains(&response.status.as_u16()), "a secret was issued: {}", response.body["scopes"]);
    assert_eq!(server.dump().await, before);
    response
}

#[tokio::test]
async fn rotate_by_key_requires_write_scope() {
    let (server, token) = server_and_token().await;
    let reader = server.create_key(&token, &["api-keys:read"]).await;
    assert_refused(&server, &reader, secret(&reader), &[403]).await.assert_missing_scope("api-keys:write");
}

#[tokio::test]
async fn rotate_by_key_with_fewer_scopes_is_forbidden() {
    let (server, token) = server_and_token().await;
    let writer = server.create_key(&token, &["api-keys:write", "a:read"]).await;
    for scope in ["api-keys:admin", "payments:write"] {
        let strong = server.create_key(&token, &["a:read", scope]).await;
        assert_refused(&server, &strong, secret(&writer), &[403]).await.assert_missing_scope(scope);
    }
    let equal = server.create_key(&token, &["a:read"]).await;
    assert_eq!(server.rotate(id(&equal), secret(&writer), Value::Null).await.status, 201);
}

#[tokio::test]
async fn rotate_by_user_without_reserved_scope_is_forbidden() {
    let (server, token) = server_and_token().await;
    let strong = server.create_key(&token, &["api-keys:admin", "a:read"]).await;
    let plain = server.create_key(&token, &["a:read"]).await;
    let weaker = server.token("alice");
    assert_refused(&server, &strong, &weaker, &[403]).await.assert_missing_scope("api-keys:admin");
    assert_eq!(server.rotate(id(&plain), &weaker, Value::Null).await.status, 201);
}

#[tokio::test]
async fn rotate_by_key_that_expires_earlier_is_refused() {
    let (server, token) = server_and_token().await;
    let body = json!({ "name": "w", "scopes": ["api-keys:write"], "expires_in_seconds": 60 });
    let writer = server.create_key_from(&token, body).await;
    for lifetime in [json!({ "name": "longer", "expires_in_seconds": 3600 }), json!({ "name": "endless" })] {
        let lasting = server.create_key_from(&token, lifetime).await;
        let response = assert_refused(&server, &lasting, secret(&writer), &[403]).await;
        response.assert_problem_type(403, "key-outlives-caller");
        assert!(response.text.contains(writer["expires_at"].as_str().unwrap()), "{}", response.text);
    }
    let shorter = server.create_key_from(&token, json!({ "name": "shorter", "expires_in_seconds": 30 })).await;
    assert_eq!(server.rotate(id(&shorter), secret(&writer), Value::Null).await.status, 201);
}
