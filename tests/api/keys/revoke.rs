//! Revoke: the permanent end of a key, in force at the next request.

use mintkey::domain::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use super::{alice_with_scopes, key_with_scopes, time};
use crate::support::{KEYS, Response, id, secret};

#[tokio::test]
async fn revoke_records_time_actor_and_reason() {
    let (server, token) = alice_with_scopes().await;
    let made = key_with_scopes(&server, &token).await;
    let before = Clock::System.now();
    let response = server.revoke(id(&made), &token, json!({ "reason": "  leaked in a build log " })).await;
    let after = Clock::System.now();

    assert_eq!(response.status, 200, "{}", response.text);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.body["status"], "revoked");
    assert_eq!(response.body["revoke_reason"], "leaked in a build log");
    assert_eq!(response.body["revoked_by"], "alice");
    let at = time(&response.body["revoked_at"]);
    assert!(before <= at && at <= after, "{at}");
    assert_eq!(response.body["updated_at"], response.body["revoked_at"]);
    assert!(response.body.get("key").is_none() && !response.text.contains(secret(&made)));

    let got = server.get(&format!("{KEYS}{}", id(&made)), &token).await;
    assert_eq!(got.text, response.text);
    assert_eq!(got.etag(), response.etag());
    assert_ne!(got.etag(), "\"1\"");
    let listed = server.get(KEYS, &token).await.body["items"][0].clone();
    assert_eq!((&listed["id"], &listed["status"]), (&made["id"], &json!("revoked")));
    assert_eq!(listed["revoke_reason"], "leaked in a build log");

    let event = &server.rows("SELECT * FROM audit_events WHERE action = 'revoked'").await[0];
    let changes: Value = serde_json::from_str(&event.try_get::<String>("", "changes").unwrap()).unwrap();
    assert_eq!(changes["reason"], "leaked in a build log");
    assert_eq!(server.counts().await, [1, 1, 2]);
}

#[tokio::test]
async fn revoke_repeated_changes_nothing() {
    let (server, token) = alice_with_scopes().await;
    let key = key_with_scopes(&server, &token).await;
    let first = server.revoke(id(&key), &token, json!({ "reason": "first" })).await;
    let before = server.dump().await;
    for body in [Value::Null, json!({}), json!({ "reason": "second" })] {
        let again = server.revoke(id(&key), &token, body).await;
        assert_eq!((again.status.as_u16(), &again.text), (200, &first.text));
        assert_eq!(again.etag(), first.etag());
    }
    assert_eq!(server.dump().await, before);
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "revoked"]);
}

#[tokio::test]
async fn revoke_concurrent_is_audited_once() {
    let (server, token) = alice_with_scopes().await;
    let key = key_with_scopes(&server, &token).await;
    let revoke = |reason: &'static str| server.revoke(id(&key), &token, json!({ "reason": reason }));
    let responses: [Response; 4] = tokio::join!(revoke("1"), revoke("2"), revoke("3"), revoke("4")).into();
    assert!(responses.iter().all(|response| response.status == 200 && response.text == responses[0].text));
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "revoked"]);
}

#[tokio::test]
async fn revoke_reason_is_optional_and_validated() {
    let (server, token) = alice_with_scopes().await;
    let made = key_with_scopes(&server, &token).await;
    let before = server.dump().await;
    for bad in [json!(""), json!(" "), json!("x".repeat(256)), json!("a\nb"), json!("\u{202e}"), json!(5)] {
        let response = server.revoke(id(&made), &token, json!({ "reason": bad })).await;
        response.assert_problem(422);
        assert_eq!(response.pointers(), ["/reason"], "{bad}");
    }
    let unknown = server.revoke(id(&made), &token, json!({ "why": "x" })).await;
    unknown.assert_violations(&["/why"]);
    server.revoke(id(&made), &token, json!([])).await.assert_problem(400);
    let path = format!("{KEYS}{}/revoke", id(&made));
    Response::to(server.request(Method::POST, &path, &token).body("{}")).await.assert_problem(415);
    assert_eq!(server.dump().await, before);

    for body in [Value::Null, json!({}), json!({ "reason": "é".repeat(255) })] {
        let key = key_with_scopes(&server, &token).await;
        let response = server.revoke(id(&key), &token, body.clone()).await;
        assert_eq!(response.status, 200, "{}", response.text);
        assert_eq!(response.body.get("revoke_reason"), body.get("reason"));
    }
}

#[tokio::test]
async fn revoke_of_disabled_or_expired_key_succeeds() {
    let (server, token) = alice_with_scopes().await;
    let disabled = key_with_scopes(&server, &token).await;
    assert_eq!(server.patch(id(&disabled), &token, json!({ "enabled": false })).await.body["status"], "disabled");
    let expired = server.create_key_from(&token, json!({ "name": "e", "expires_in_seconds": 1 })).await;
    tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
    assert_eq!(server.get(&format!("{KEYS}{}", id(&expired)), &token).await.body["status"], "expired");
    for key in [&disabled, &expired] {
        let response = server.revoke(id(key), &token, Value::Null).await;
        assert_eq!((response.status.as_u16(), &response.body["status"]), (200, &json!("revoked")));
    }
}
