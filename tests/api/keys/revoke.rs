//! Revoke and delete: the end of a key, for good, at once.

use chrono::{DateTime, Utc};
use mintkey::domain::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, KEYS, Server, id, nobodys, secret};

const READ_AND_WRITE: &str = "api-keys:read api-keys:write";

async fn alice() -> (Server, String) {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", READ_AND_WRITE]);
    (server, token)
}

async fn key(server: &Server, token: &str) -> Value {
    server.key(token, json!({ "name": "k", "scopes": ["api-keys:read", "api-keys:write"] })).await
}

async fn is_refused(server: &Server, secret: &str) {
    for (method, path) in [(Method::GET, KEYS), (Method::GET, "/api/auth/audit-events"), (Method::POST, KEYS)] {
        let body = if method == Method::POST { json!({ "name": "x" }) } else { Value::Null };
        let answer = server.ask(method, path, secret, body).await;
        answer.problem(401);
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
    }
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("no time: {value}")).parse().unwrap()
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_the_very_next_request() {
    let (server, token) = alice().await;
    for round in 0..20 {
        let key = key(&server, &token).await;
        let rotated = server.rotate(id(&key), &token, json!({ "grace_seconds": 3600 })).await.body;
        for secret in [secret(&key), secret(&rotated)] {
            assert_eq!(server.get(KEYS, secret).await.status, 200);
        }
        let ended = match round % 2 {
            0 => server.revoke(id(&key), &token, Value::Null).await.status,
            _ => server.delete(id(&key), &token).await.status,
        };
        assert!(ended.is_success());
        is_refused(&server, secret(&key)).await;
        is_refused(&server, secret(&rotated)).await;
    }
}

#[tokio::test]
async fn a_revoked_key_says_when_by_whom_and_why_and_stays_listed() {
    let (server, token) = alice().await;
    let made = key(&server, &token).await;
    let before = Clock::System.now();
    let answer = server.revoke(id(&made), &token, json!({ "reason": "  leaked in a build log " })).await;
    let after = Clock::System.now();

    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.body["status"], "revoked");
    assert_eq!(answer.body["revoke_reason"], "leaked in a build log");
    assert_eq!(answer.body["revoked_by"], "alice");
    let at = time(&answer.body["revoked_at"]);
    assert!(before <= at && at <= after, "{at}");
    assert_eq!(answer.body["updated_at"], answer.body["revoked_at"]);
    assert!(answer.body.get("key").is_none() && !answer.text.contains(secret(&made)));

    let got = server.get(&format!("{KEYS}{}", id(&made)), &token).await;
    assert_eq!(got.text, answer.text);
    assert_eq!(got.etag(), answer.etag());
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
async fn revoking_again_changes_nothing_and_tells_nobody() {
    let (server, token) = alice().await;
    let key = key(&server, &token).await;
    let first = server.revoke(id(&key), &token, json!({ "reason": "first" })).await;
    let before = server.dump().await;
    for body in [Value::Null, json!({}), json!({ "reason": "second" })] {
        let again = server.revoke(id(&key), &token, body).await;
        assert_eq!((again.status.as_u16(), &again.text), (200, &first.text));
        assert_eq!(again.etag(), first.etag());
    }
    assert_eq!(server.dump().await, before);
    assert_eq!(server.actions(id(&key)).await, ["created", "revoked"]);
}

#[tokio::test]
async fn of_many_revocations_at_once_one_is_told_of() {
    let (server, token) = alice().await;
    let key = key(&server, &token).await;
    let revoke = |reason: &'static str| server.revoke(id(&key), &token, json!({ "reason": reason }));
    let answers: [Answer; 4] = tokio::join!(revoke("1"), revoke("2"), revoke("3"), revoke("4")).into();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text == answers[0].text));
    assert_eq!(server.actions(id(&key)).await, ["created", "revoked"]);
}

#[tokio::test]
async fn a_reason_is_optional_and_follows_the_rules_of_a_name() {
    let (server, token) = alice().await;
    let made = key(&server, &token).await;
    let before = server.dump().await;
    for bad in [json!(""), json!(" "), json!("x".repeat(256)), json!("a\nb"), json!("\u{202e}"), json!(5), json!(null)]
    {
        let answer = server.revoke(id(&made), &token, json!({ "reason": bad })).await;
        answer.problem(422);
        assert_eq!(answer.pointers(), ["/reason"], "{bad}");
    }
    let unknown = server.revoke(id(&made), &token, json!({ "why": "x" })).await;
    unknown.problem(422);
    assert_eq!(unknown.pointers(), ["/why"]);
    server.revoke(id(&made), &token, json!([])).await.problem(400);
    let path = format!("{KEYS}{}/revoke", id(&made));
    Answer::of(server.request(Method::POST, &path, &token).body("{}")).await.problem(415);
    assert_eq!(server.dump().await, before);

    for body in [Value::Null, json!({}), json!({ "reason": "é".repeat(255) })] {
        let key = key(&server, &token).await;
        let answer = server.revoke(id(&key), &token, body.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.body.get("revoke_reason"), body.get("reason"));
    }
}

#[tokio::test]
async fn a_disabled_and_an_expired_key_can_be_revoked_too() {
    let (server, token) = alice().await;
    let disabled = key(&server, &token).await;
    assert_eq!(server.patch(id(&disabled), &token, json!({ "enabled": false })).await.body["status"], "disabled");
    let expired = server.key(&token, json!({ "name": "e", "expires_in_seconds": 1 })).await;
    tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
    assert_eq!(server.get(&format!("{KEYS}{}", id(&expired)), &token).await.body["status"], "expired");
    for key in [&disabled, &expired] {
        let answer = server.revoke(id(key), &token, Value::Null).await;
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (200, &json!("revoked")));
    }
}

#[tokio::test]
async fn a_deleted_key_is_gone_for_its_owner_as_one_that_never_was() {
    let (server, token) = alice().await;
    let key = key(&server, &token).await;
    let answer = server.delete(id(&key), &token).await;
    assert_eq!((answer.status.as_u16(), &*answer.text), (204, ""));
    assert_eq!((answer.header("content-type"), answer.header("etag")), (None, None));

    let before = server.dump().await;
    for (method, tail, body) in [
        (Method::GET, "", Value::Null),
        (Method::PATCH, "", json!({ "name": "x" })),
        (Method::POST, "/rotate", Value::Null),
        (Method::POST, "/revoke", json!({ "reason": "x" })),
        (Method::DELETE, "", Value::Null),
    ] {
        let mut told = Vec::new();
        for id in [id(&key), &nobodys()] {
            let request = server.request(method.clone(), &format!("{KEYS}{id}{tail}"), &token);
            let request = request.header("x-request-id", "the-same");
            let answer = Answer::of(if body.is_null() { request } else { request.json(&body) }).await;
            answer.problem(404);
            let mut headers = answer.headers;
            headers.remove("date");
            told.push((headers, answer.text));
        }
        assert_eq!(told[0], told[1], "{method} {tail}");
    }
    assert_eq!(server.get(KEYS, &token).await.body, json!({ "items": [] }));
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn a_deleted_key_leaves_a_tombstone_and_its_events() {
    let (server, token) = alice().await;
    let key = key(&server, &token).await;
    assert_eq!(server.delete(id(&key), &token).await.status, 204);

    let row = &server.rows("SELECT * FROM api_keys").await[0];
    assert_eq!(row.try_get::<String>("", "name").unwrap(), "k");
    assert_eq!(row.try_get::<String>("", "revoked_by").unwrap(), "alice");
    let at = |column: &str| row.try_get::<Option<DateTime<Utc>>>("", column).unwrap().unwrap();
    assert_eq!(at("deleted_at"), at("revoked_at"));
    assert_eq!(server.actions(id(&key)).await, ["created", "revoked", "deleted"]);
    let events = server.get(&format!("/api/auth/audit-events?key_id={}", id(&key)), &token).await;
    let actions: Vec<_> = events.body["items"].as_array().unwrap().iter().map(|event| &event["action"]).collect();
    assert_eq!(actions, ["deleted", "revoked", "created"]);
    assert_eq!(server.counts().await, [1, 1, 3]);
}

#[tokio::test]
async fn deleting_a_revoked_key_keeps_who_revoked_it_and_why() {
    let (server, token) = alice().await;
    let key = key(&server, &token).await;
    let revoked = server.revoke(id(&key), &token, json!({ "reason": "first" })).await.body;
    assert_eq!(server.delete(id(&key), &token).await.status, 204);
    let row = &server.rows("SELECT * FROM api_keys").await[0];
    assert_eq!(row.try_get::<String>("", "revoke_reason").unwrap(), "first");
    assert_eq!(row.try_get::<DateTime<Utc>>("", "revoked_at").unwrap(), time(&revoked["revoked_at"]));
    assert_eq!(server.actions(id(&key)).await, ["created", "revoked", "deleted"]);
}

#[tokio::test]
async fn of_two_deletions_at_once_one_finds_the_key() {
    let (server, token) = alice().await;
    for _ in 0..10 {
        let key = key(&server, &token).await;
        let (one, other) = tokio::join!(server.delete(id(&key), &token), server.delete(id(&key), &token));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 404]);
        assert_eq!(server.actions(id(&key)).await, ["created", "revoked", "deleted"]);
    }
}

#[tokio::test]
async fn a_key_ends_itself_and_is_refused_from_then_on() {
    let (server, token) = alice().await;
    for (delete, status, actions) in
        [(false, 200, &["created", "revoked"][..]), (true, 204, &["created", "revoked", "deleted"])]
    {
        let key = key(&server, &token).await;
        let answer = match delete {
            true => server.delete(id(&key), secret(&key)).await,
            false => server.revoke(id(&key), secret(&key), Value::Null).await,
        };
        assert_eq!(answer.status, status, "{}", answer.text);
        is_refused(&server, secret(&key)).await;
        server.revoke(id(&key), secret(&key), Value::Null).await.problem(401);
        assert_eq!(server.actions(id(&key)).await, actions);
        let last = &server.rows("SELECT * FROM audit_events ORDER BY id DESC LIMIT 1").await[0];
        assert_eq!(last.try_get::<String>("", "actor_kind").unwrap(), "key");
        assert_eq!(last.try_get::<uuid::Uuid>("", "actor_key_id").unwrap().to_string(), id(&key));
    }
}

#[tokio::test]
async fn ending_a_key_needs_the_scope_to_write() {
    let (server, token) = alice().await;
    let reader = server.key(&token, json!({ "name": "r", "scopes": ["api-keys:read"] })).await;
    let victim = key(&server, &token).await;
    let before = server.dump().await;
    for key in [&reader, &victim] {
        let (revoked, deleted) =
            (server.revoke(id(key), secret(&reader), Value::Null).await, server.delete(id(key), secret(&reader)).await);
        for answer in [revoked, deleted] {
            answer.problem(403);
            let challenge = r#"Bearer error="insufficient_scope", scope="api-keys:write""#;
            assert_eq!(answer.header("www-authenticate"), Some(challenge));
        }
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn an_end_outlives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::at(directory.path(), &[]);
    let token = server.token_with("alice", &["--scopes", READ_AND_WRITE]);
    let (revoked, deleted) = (key(&server, &token).await, key(&server, &token).await);
    assert_eq!(server.revoke(id(&revoked), &token, Value::Null).await.status, 200);
    assert_eq!(server.delete(id(&deleted), &token).await.status, 204);
    server.kill();
    let server = Server::at(directory.path(), &[]);
    for key in [&revoked, &deleted] {
        is_refused(&server, secret(key)).await;
    }
    server.get(&format!("{KEYS}{}", id(&deleted)), &token).await.problem(404);
}
