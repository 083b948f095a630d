//! The end of a key: what revoking and deleting have in common.

use reqwest::Method;
use serde_json::{Value, json};

use super::{READ_AND_WRITE, alice_with_scopes, assert_refused, key_with_scopes};
use crate::support::{KEYS, Response, Server, id, secret};

/// An operation that ends a key permanently.
struct Ending {
    method: Method,
    tail: &'static str,
    status: u16,
    /// The audit events of the key afterwards.
    actions: &'static [&'static str],
}

const ENDINGS: [Ending; 2] = [
    Ending { method: Method::POST, tail: "/revoke", status: 200, actions: &["created", "revoked"] },
    Ending { method: Method::DELETE, tail: "", status: 204, actions: &["created", "revoked", "deleted"] },
];

impl Ending {
    async fn request(&self, server: &Server, credential: &str, key: &Value) -> Response {
        let path = format!("{KEYS}{}{}", id(key), self.tail);
        server.call(self.method.clone(), &path, credential, Value::Null).await
    }

    async fn end(&self, server: &Server, credential: &str, key: &Value) {
        let response = self.request(server, credential, key).await;
        assert_eq!(response.status, self.status, "{}", response.text);
    }
}

#[tokio::test]
async fn end_of_key_takes_effect_at_next_request() {
    let (server, token) = alice_with_scopes().await;
    for ending in &ENDINGS {
        for _ in 0..10 {
            let key = key_with_scopes(&server, &token).await;
            let rotated = server.rotate(id(&key), &token, json!({ "grace_seconds": 3600 })).await.body;
            for secret in [secret(&key), secret(&rotated)] {
                assert_eq!(server.get(KEYS, secret).await.status, 200);
            }
            ending.end(&server, &token, &key).await;
            assert_refused(&server, secret(&key)).await;
            assert_refused(&server, secret(&rotated)).await;
        }
    }
}

#[tokio::test]
async fn end_of_key_by_itself_takes_effect_at_once() {
    let (server, token) = alice_with_scopes().await;
    for ending in &ENDINGS {
        let key = key_with_scopes(&server, &token).await;
        ending.end(&server, secret(&key), &key).await;
        assert_refused(&server, secret(&key)).await;
        ending.request(&server, secret(&key), &key).await.assert_problem(401);
        assert_eq!(server.audit_actions(id(&key)).await, ending.actions);
        let last = &server.rows("SELECT * FROM audit_events ORDER BY id DESC LIMIT 1").await[0];
        assert_eq!(last.try_get::<String>("", "actor_kind").unwrap(), "key");
        assert_eq!(last.try_get::<uuid::Uuid>("", "actor_key_id").unwrap().to_string(), id(&key));
    }
}

#[tokio::test]
async fn end_of_key_by_key_requires_write_scope() {
    let (server, token) = alice_with_scopes().await;
    let reader = server.create_key_from(&token, json!({ "name": "r", "scopes": ["api-keys:read"] })).await;
    let victim = key_with_scopes(&server, &token).await;
    let before = server.dump().await;
    for ending in &ENDINGS {
        for key in [&reader, &victim] {
            ending.request(&server, secret(&reader), key).await.assert_missing_scope("api-keys:write");
        }
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn end_of_key_survives_kill() {
    for ending in &ENDINGS {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Server::start_in(directory.path(), &[]);
        let token = server.token_with("alice", &["--scopes", READ_AND_WRITE]);
        let key = key_with_scopes(&server, &token).await;
        ending.end(&server, &token, &key).await;
        server.kill();
        let server = Server::start_in(directory.path(), &[]);
        assert_refused(&server, secret(&key)).await;
        assert_eq!(server.audit_actions(id(&key)).await, ending.actions);
    }
}
