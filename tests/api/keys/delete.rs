//! Delete: a revocation that also hides the key from its owner.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use super::{alice_with_scopes, key_with_scopes, time};
use crate::support::{KEYS, Response, id, unknown_key};

#[tokio::test]
async fn delete_makes_key_look_unknown_to_its_owner() {
    let (server, token) = alice_with_scopes().await;
    let key = key_with_scopes(&server, &token).await;
    let response = server.delete(id(&key), &token).await;
    assert_eq!((response.status.as_u16(), &*response.text), (204, ""));
    assert_eq!((response.header("content-type"), response.header("etag")), (None, None));

    let before = server.dump().await;
    for (method, tail, body) in [
        (Method::GET, "", Value::Null),
        (Method::PATCH, "", json!({ "name": "x" })),
        (Method::POST, "/rotate", Value::Null),
        (Method::POST, "/revoke", json!({ "reason": "x" })),
        (Method::DELETE, "", Value::Null),
    ] {
        let mut responses = Vec::new();
        for id in [id(&key), &unknown_key()] {
            let request = server.request(method.clone(), &format!("{KEYS}{id}{tail}"), &token);
            let request = request.header("x-request-id", "the-same");
            let response = Response::to(if body.is_null() { request } else { request.json(&body) }).await;
            response.assert_problem(404);
            let mut headers = response.headers;
            headers.remove("date");
            responses.push((headers, response.text));
        }
        assert_eq!(responses[0], responses[1], "{method} {tail}");
    }
    assert_eq!(server.get(KEYS, &token).await.body, json!({ "items": [] }));
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn delete_keeps_row_and_audit_events() {
    let (server, token) = alice_with_scopes().await;
    let key = key_with_scopes(&server, &token).await;
    assert_eq!(server.delete(id(&key), &token).await.status, 204);

    let row = &server.rows("SELECT * FROM api_keys").await[0];
    assert_eq!(row.try_get::<String>("", "name").unwrap(), "k");
    assert_eq!(row.try_get::<String>("", "revoked_by").unwrap(), "alice");
    let at = |column: &str| row.try_get::<Option<DateTime<Utc>>>("", column).unwrap().unwrap();
    assert_eq!(at("deleted_at"), at("revoked_at"));
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "revoked", "deleted"]);
    let events = server.get(&format!("/api/auth/audit-events?key_id={}", id(&key)), &token).await;
    let actions: Vec<_> = events.body["items"].as_array().unwrap().iter().map(|event| &event["action"]).collect();
    assert_eq!(actions, ["deleted", "revoked", "created"]);
    assert_eq!(server.counts().await, [1, 1, 3]);
}

#[tokio::test]
async fn delete_of_revoked_key_keeps_its_revocation() {
    let (server, token) = alice_with_scopes().await;
    let key = key_with_scopes(&server, &token).await;
    let revoked = server.revoke(id(&key), &token, json!({ "reason": "first" })).await.body;
    assert_eq!(server.delete(id(&key), &token).await.status, 204);
    let row = &server.rows("SELECT * FROM api_keys").await[0];
    assert_eq!(row.try_get::<String>("", "revoke_reason").unwrap(), "first");
    let at = |column: &str| row.try_get::<DateTime<Utc>>("", column).unwrap();
    assert_eq!(at("revoked_at"), time(&revoked["revoked_at"]));
    assert_eq!(at("updated_at"), at("deleted_at"));
    assert_eq!(row.try_get::<i64>("", "revision").unwrap(), 3, "created, revoked, deleted");
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "revoked", "deleted"]);
}

#[tokio::test]
async fn delete_concurrent_succeeds_once() {
    let (server, token) = alice_with_scopes().await;
    for _ in 0..10 {
        let key = key_with_scopes(&server, &token).await;
        let (one, other) = tokio::join!(server.delete(id(&key), &token), server.delete(id(&key), &token));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 404]);
        assert_eq!(server.audit_actions(id(&key)).await, ["created", "revoked", "deleted"]);
    }
}
