//! Refused operations: a caller that would give a key more than it has leaves an audit event.

use reqwest::Method;
use serde_json::{Value, json};

use super::{EVENTS, actions, events, items};
use crate::support::{KEYS, Response, Server, id, secret};

const SCOPES: &[&str] = &["--scopes", "api-keys:read api-keys:write"];

/// The refused events of this user, newest first.
async fn refusals(server: &Server, credential: &str) -> Vec<Value> {
    items(&events(server, credential, "?action=refused").await).to_vec()
}

#[tokio::test]
async fn refusal_is_audited_with_operation_and_missing_scope() {
    let server = Server::start();
    let token = server.token_with("alice", SCOPES);
    let caller = server.create_key(&token, &["api-keys:write"]).await;
    let stronger = server.create_key(&token, &["a"]).await;
    let path = format!("{KEYS}{}", id(&stronger));
    for (method, path, body) in [
        (Method::POST, KEYS.to_owned(), json!({ "name": "x", "scopes": ["a"] })),
        (Method::PATCH, path.clone(), json!({ "name": "x" })),
        (Method::POST, format!("{path}/rotate"), Value::Null),
    ] {
        let request = server.request(method, &path, secret(&caller)).header("user-agent", "the/agent");
        let request = request.header("x-request-id", "the-request");
        Response::to(if body.is_null() { request } else { request.json(&body) }).await.assert_missing_scope("a");
    }
    let refused = refusals(&server, &token).await;
    let changes: Vec<_> = refused.iter().map(|event| &event["changes"]).collect();
    let expected =
        ["rotate", "update", "create"].map(|operation| json!({ "operation": operation, "missing_scope": "a" }));
    assert_eq!(changes, expected.iter().collect::<Vec<_>>());
    for event in &refused {
        assert_eq!((&event["actor"]["kind"], &event["actor"]["key_id"]), (&json!("key"), &caller["id"]));
        assert_eq!(event["owner"], json!({ "issuer": "urn:mintkey:standalone", "subject": "alice" }));
        assert_eq!((&event["request_id"], &event["user_agent"]), (&json!("the-request"), &json!("the/agent")));
        assert_eq!(event["client_address"], "127.0.0.1");
    }
    let keys: Vec<_> = refused.iter().map(|event| event.get("key_id")).collect();
    assert_eq!(keys, [stronger.get("id"), stronger.get("id"), None]);
    assert_eq!(server.audit_actions(id(&stronger)).await, ["created", "refused", "refused"]);
    assert_eq!(server.count("audit_events WHERE action = 'refused' AND key_id IS NULL").await, 1);
    assert_eq!(refusals(&server, &server.token("bob")).await, Vec::<Value>::new());
}

#[tokio::test]
async fn refusal_of_key_that_outlives_its_caller_shows_both_ends() {
    let server = Server::start();
    let token = server.token_with("alice", SCOPES);
    let body = json!({ "name": "c", "scopes": ["api-keys:write"], "expires_at": "2035-01-01T00:00:00Z" });
    let caller = server.create_key_from(&token, body).await;
    let lasting = server.create_key(&token, &[]).await;
    server.rotate(id(&lasting), secret(&caller), Value::Null).await.assert_problem_type(403, "key-outlives-caller");
    let changes = &refusals(&server, &token).await[0]["changes"];
    let expected =
        json!({ "operation": "rotate", "key_expires_at": null, "caller_expires_at": "2035-01-01T00:00:00Z" });
    assert_eq!(*changes, expected);
}

#[tokio::test]
async fn refusal_leaves_no_event_for_invalid_or_unseen() {
    let server = Server::start();
    let token = server.token("alice");
    let theirs = server.create_key(&server.token("bob"), &[]).await;
    server.create(&token, json!({ "name": "" })).await.assert_problem(422);
    server.patch(id(&theirs), &token, json!({ "scopes": ["api-keys:admin"] })).await.assert_problem(404);
    assert_eq!(server.count("audit_events WHERE action = 'refused'").await, 0);
}

#[tokio::test]
async fn refusals_are_limited_per_owner_and_counted() {
    let server = Server::start();
    let (alice, bob) = (server.token("alice"), server.token("bob"));
    let escalation = json!({ "name": "x", "scopes": ["api-keys:admin"] });
    // More than the limits of the two minutes that the requests may fall into.
    for _ in 0..25 {
        server.create(&alice, escalation.clone()).await.assert_missing_scope("api-keys:admin");
    }
    server.create(&bob, escalation).await.assert_missing_scope("api-keys:admin");
    let recorded = server.count("audit_events WHERE owner_subject = 'alice'").await;
    assert!((10..=20).contains(&recorded), "{recorded}");
    assert_eq!(actions(&events(&server, &bob, "").await), ["refused"]);
    let metrics = server.get("/metrics", "").await.text;
    for (outcome, number) in [("recorded", recorded + 1), ("over_limit", 25 - recorded), ("failed", 0)] {
        let line = format!("mintkey_refusals_total{{audit=\"{outcome}\"}} {number}");
        assert!(metrics.lines().any(|found| found == line), "no {line} in\n{metrics}");
    }
}

#[tokio::test]
async fn refusal_that_cannot_be_recorded_is_still_a_403() {
    let server = Server::start();
    let token = server.token("alice");
    server.execute("ALTER TABLE key_change_events RENAME TO elsewhere").await;
    let response = server.create(&token, json!({ "name": "x", "scopes": ["api-keys:admin"] })).await;
    response.assert_missing_scope("api-keys:admin");
    server.wait_for_log(&["WARN", "refused operation not recorded"]);
    assert!(server.get("/metrics", "").await.text.contains("mintkey_refusals_total{audit=\"failed\"} 1"));
    assert_eq!(server.count("api_keys").await, 0);
}

#[tokio::test]
async fn refusals_are_no_part_of_the_revocation_log() {
    let server = Server::start();
    let token = server.token("alice");
    let key = server.create_key(&token, &[]).await;
    let escalation = json!({ "scopes": ["api-keys:admin"] });
    server.patch(id(&key), &token, escalation).await.assert_missing_scope("api-keys:admin");
    server.create(&token, json!({ "name": "x", "scopes": ["api-keys:admin"] })).await.assert_problem(403);
    let log = crate::support::succeed(crate::support::mintkey_at(&server.data).args(["keys", "export-revocations"]));
    assert_eq!(log, "");
    assert_eq!(server.get(EVENTS, &token).await.body["items"].as_array().unwrap().len(), 3);
}
