//! A key that has ended or lost scopes at another replica since this server cached it. It gives nothing any more: what
//! it gave would outlive it.

use serde_json::{Value, json};

use crate::support::{Server, id, secret};

#[tokio::test]
async fn key_that_has_ended_elsewhere_creates_rotates_and_updates_nothing() {
    for change in [
        "revoked_at = created_at",
        "deleted_at = created_at",
        "enabled = false",
        "expires_at = created_at",
        r#"scopes = '["api-keys:write"]'"#,
    ] {
        let server = Server::start();
        let token = server.token_with("alice", &["--scopes", "a api-keys:write"]);
        let target = server.create_key_from(&token, json!({ "name": "target", "scopes": ["a"] })).await;
        for operation in ["create", "rotate", "update"] {
            let body = json!({ "name": "caller", "scopes": ["a", "api-keys:write"] });
            let caller = server.create_key_from(&token, body).await;
            // From here on, the server has the caller in its cache.
            let renamed = server.patch(id(&target), secret(&caller), json!({ "name": operation })).await;
            assert_eq!(renamed.body["name"], operation, "{}", renamed.text);
            server.execute(&format!("UPDATE api_keys SET {change} WHERE name = 'caller'")).await;
            let before = server.dump().await;
            let response = match operation {
                "create" => server.create(secret(&caller), json!({ "name": "child", "scopes": ["a"] })).await,
                "rotate" => server.rotate(id(&target), secret(&caller), Value::Null).await,
                _ => server.patch(id(&target), secret(&caller), json!({ "metadata": { "a": 1 } })).await,
            };
            // 403 if the server has noticed meanwhile that the caller has fewer scopes.
            assert!([401, 403].contains(&response.status.as_u16()), "{change}, {operation}: {}", response.text);
            assert_eq!(server.dump().await, before, "{change}, {operation}");
            server.execute("UPDATE api_keys SET name = 'ended' WHERE name = 'caller'").await;
        }
    }
}
