//! Replays by a caller that could not get the secret any more: the saved response is not sent.

use serde_json::{Value, json};

use super::{IDEMPOTENCY_KEY, assert_created, assert_replayed, create, rotate};
use crate::support::{Server, id, secret};

const WRITE: &str = "api-keys:write";

/// A server, a token of alice's and a key with these scopes.
async fn server_and_key(scopes: &[&str]) -> (Server, String, Value) {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:write api-keys:admin"]);
    let key = server.create_key(&token, scopes).await;
    (server, token, key)
}

#[tokio::test]
async fn replay_to_key_that_lost_a_scope_is_forbidden() {
    let (server, token, caller) = server_and_key(&[WRITE, "a"]).await;
    let body = json!({ "name": "child", "scopes": ["a"] });
    let child = create(&server, secret(&caller), IDEMPOTENCY_KEY, &body).await;
    let rotated = rotate(&server, secret(&caller), &child.body, IDEMPOTENCY_KEY, &Value::Null).await;
    [&child, &rotated].into_iter().for_each(assert_created);
    assert_replayed(&create(&server, secret(&caller), IDEMPOTENCY_KEY, &body).await, &child);

    assert_eq!(server.patch(id(&caller), &token, json!({ "scopes": [WRITE] })).await.status, 200);
    let before = server.dump().await;
    let again = [
        create(&server, secret(&caller), IDEMPOTENCY_KEY, &body).await,
        rotate(&server, secret(&caller), &child.body, IDEMPOTENCY_KEY, &Value::Null).await,
    ];
    for response in again {
        response.assert_missing_scope("a");
        assert!(!response.text.contains(secret(&child.body)) && !response.text.contains(secret(&rotated.body)));
    }
    assert_eq!(server.dump().await, before);
    assert_eq!(server.count("audit_events WHERE action = 'refused'").await, 2);
}

#[tokio::test]
async fn replay_to_user_without_the_scope_is_forbidden() {
    let (server, token, _) = server_and_key(&[]).await;
    let body = json!({ "name": "k", "scopes": ["api-keys:admin"] });
    let key = create(&server, &token, IDEMPOTENCY_KEY, &body).await;
    let weaker = create(&server, &server.token("alice"), IDEMPOTENCY_KEY, &body).await;
    weaker.assert_missing_scope("api-keys:admin");
    assert!(!weaker.text.contains(secret(&key.body)));
    assert_replayed(&create(&server, &token, IDEMPOTENCY_KEY, &body).await, &key);
}

#[tokio::test]
async fn replay_of_key_that_got_more_since_is_forbidden() {
    let (server, token, caller) = server_and_key(&[WRITE]).await;
    let body = json!({ "name": "child" });
    let child = create(&server, secret(&caller), IDEMPOTENCY_KEY, &body).await;
    assert_created(&child);
    assert_eq!(server.patch(id(&child.body), &token, json!({ "scopes": ["api-keys:admin"] })).await.status, 200);
    create(&server, secret(&caller), IDEMPOTENCY_KEY, &body).await.assert_missing_scope("api-keys:admin");
}

#[tokio::test]
async fn replay_to_old_secret_gives_no_life_beyond_its_end() {
    let (server, token, caller) = server_and_key(&[WRITE]).await;
    let body = json!({ "name": "child" });
    assert_created(&create(&server, secret(&caller), IDEMPOTENCY_KEY, &body).await);
    assert_eq!(server.rotate(id(&caller), &token, json!({ "grace_seconds": 3600 })).await.status, 201);
    let response = create(&server, secret(&caller), IDEMPOTENCY_KEY, &body).await;
    response.assert_problem_type(403, "key-outlives-caller");
}

#[tokio::test]
async fn replay_to_key_that_rotated_itself_returns_its_secret() {
    let (server, _, caller) = server_and_key(&[WRITE]).await;
    let grace = json!({ "grace_seconds": 3600 });
    let rotated = rotate(&server, secret(&caller), &caller, IDEMPOTENCY_KEY, &grace).await;
    assert_created(&rotated);
    assert_replayed(&rotate(&server, secret(&caller), &caller, IDEMPOTENCY_KEY, &grace).await, &rotated);
}
