//! Access: only callers with `api-keys:admin` see or change keys of other owners.

use reqwest::Method;
use serde_json::{Value, json};

use super::{EVENTS_OF_ALL, KEYS_OF_ALL, deployment};
use crate::support::{KEYS, id, secret, unknown_key};

#[tokio::test]
async fn admin_operations_require_admin_scope() {
    let (server, carol, keys) = deployment().await;
    let every_other = &["--scopes", "api-keys:read api-keys:write api-keys:verify api-keys:* api-keys:admins *"];
    let alice = server.token_with("alice", every_other);
    let body = json!({ "name": "k", "scopes": ["api-keys:read", "api-keys:write", "api-keys:verify"] });
    let key = server.create_key_from(&alice, body).await;
    let admin_key = server.create_key_from(&carol, json!({ "name": "a", "scopes": ["api-keys:admin"] })).await;
    let before = server.dump().await;
    for credential in [&*alice, secret(&key)] {
        for (method, path, body) in [
            (Method::GET, KEYS_OF_ALL.to_owned(), Value::Null),
            (Method::GET, format!("{KEYS_OF_ALL}/{}", id(&keys[0])), Value::Null),
            (Method::GET, format!("{KEYS_OF_ALL}/{}", unknown_key()), Value::Null),
            (Method::POST, format!("{KEYS_OF_ALL}/{}/revoke", id(&keys[0])), Value::Null),
            (Method::POST, format!("{KEYS_OF_ALL}/{}/revoke", id(&keys[0])), json!({ "reason": 5 })),
            (Method::POST, format!("{KEYS_OF_ALL}/revoke"), json!({ "subject": "alice" })),
            (Method::POST, format!("{KEYS_OF_ALL}/revoke"), json!({})),
            (Method::GET, EVENTS_OF_ALL.to_owned(), Value::Null),
        ] {
            let response = server.call(method.clone(), &path, credential, body).await;
            response.assert_problem(403);
            let challenge = r#"Bearer error="insufficient_scope", scope="api-keys:admin""#;
            assert_eq!(response.header("www-authenticate"), Some(challenge), "{method} {path}");
        }
    }
    assert_eq!(server.dump().await, before);
    server.create(&alice, json!({ "name": "x", "scopes": ["api-keys:admin"] })).await.assert_problem(403);
    assert_eq!(server.get(KEYS_OF_ALL, secret(&admin_key)).await.status, 200, "a key with the scope administers");
    server.get(KEYS, secret(&admin_key)).await.assert_problem(403);
}
