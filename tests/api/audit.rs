//! Audit: each change has one event with its actor and source, visible to the owner of the key.

mod refusals;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use mintkey::domain::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id, secret, unknown_key};

const EVENTS: &str = "/api/auth/audit-events";
const SCOPES: &[&str] = &["--organization", "acme", "--scopes", "api-keys:read api-keys:write"];

async fn events(server: &Server, credential: &str, query: &str) -> Response {
    let response = server.get(&format!("{EVENTS}{query}"), credential).await;
    assert_eq!(response.status, 200, "{query}: {}", response.text);
    response
}

fn items(page: &Response) -> &[Value] {
    page.body["items"].as_array().unwrap()
}

fn actions(page: &Response) -> Vec<&str> {
    items(page).iter().map(|event| event["action"].as_str().unwrap()).collect()
}

/// Sends a request with a request id and a user agent that identify its event.
async fn send_identified(server: &Server, method: Method, path: &str, credential: &str, body: Value) -> Response {
    let request = server.request(method, path, credential).header("user-agent", "the/agent (of change)");
    let request = request.header("x-request-id", "the-request");
    let response = Response::to(if body.is_null() { request } else { request.json(&body) }).await;
    assert!(response.status.is_success(), "{}", response.text);
    response
}

async fn create_key(server: &Server, token: &str, name: &str) -> Value {
    server.create_key_from(token, json!({ "name": name, "scopes": ["api-keys:read", "api-keys:write"] })).await
}

#[tokio::test]
async fn audit_records_actor_and_source_of_every_change() {
    let server = Server::start();
    let token = server.token_with("alice", SCOPES);
    let caller = create_key(&server, &token, "caller").await;
    for (credential, kind) in [(&*token, "user"), (secret(&caller), "key")] {
        let body = json!({ "name": "n", "metadata": { "m": 1 }, "expires_at": "2040-01-01T00:00:00Z" });
        let from = Clock::System.now();
        let key = send_identified(&server, Method::POST, KEYS, credential, body).await.body;
        let path = format!("{KEYS}{}", id(&key));
        send_identified(&server, Method::PATCH, &path, credential, json!({ "name": "m", "enabled": false })).await;
        send_identified(&server, Method::PATCH, &path, credential, json!({ "enabled": true })).await;
        send_identified(&server, Method::POST, &format!("{path}/rotate"), credential, json!({ "grace_seconds": 60 }))
            .await;
        send_identified(&server, Method::POST, &format!("{path}/revoke"), credential, json!({ "reason": "over" }))
            .await;
        send_identified(&server, Method::DELETE, &path, credential, Value::Null).await;
        let until = Clock::System.now();

        let page = events(&server, &token, &format!("?key_id={}", id(&key))).await;
        let expected = ["deleted", "revoked", "rotated", "enabled", "disabled", "updated", "created"];
        assert_eq!(actions(&page), expected);
        for event in items(&page) {
            let mut actor = json!({ "kind": kind, "issuer": "urn:mintkey:standalone", "subject": "alice" });
            if kind == "key" {
                actor["key_id"] = caller["id"].clone();
            }
            assert_eq!(event["actor"], actor);
            let owner = json!({ "issuer": "urn:mintkey:standalone", "subject": "alice", "organization": "acme" });
            assert_eq!((&event["owner"], &event["key_id"]), (&owner, &key["id"]));
            assert_eq!((&event["request_id"], &event["client_address"]), (&json!("the-request"), &json!("127.0.0.1")));
            assert_eq!(event["user_agent"], "the/agent (of change)");
            let at: DateTime<Utc> = event["at"].as_str().unwrap().parse().unwrap();
            assert!(from <= at && at <= until, "{event}");
        }
        let changes: Vec<_> = items(&page).iter().map(|event| &event["changes"]).collect();
        assert_eq!(*changes[0], json!({}));
        assert_eq!(*changes[1], json!({ "reason": "over" }));
        assert!(changes[2]["start"].is_string() && changes[2]["old_secret_expires_at"].is_string(), "{}", changes[2]);
        assert_eq!((changes[3], changes[4]), (&json!({ "enabled": true }), &json!({ "enabled": false })));
        assert_eq!(*changes[5], json!({ "name": "m" }), "only what changed");
        assert_eq!((&changes[6]["name"], &changes[6]["metadata"]), (&json!("n"), &json!({ "m": 1 })));
        assert_eq!(changes[6]["expires_at"].as_str().map(|at| at.starts_with("2040-01-01T00:00:00")), Some(true));
    }
}

#[tokio::test]
async fn audit_records_request_without_user_agent_or_id() {
    let server = Server::start();
    let token = server.token("alice");
    let response = server.create(&token, json!({ "name": "n" })).await;
    let event = items(&events(&server, &token, "").await)[0].clone();
    assert_eq!(event["request_id"].as_str(), response.header("x-request-id"));
    assert!(event.get("user_agent").is_none(), "{event}");
    assert!(event["owner"].get("organization").is_none() && event["actor"].get("key_id").is_none(), "{event}");

    let long = "x".repeat(300);
    Response::to(server.request(Method::POST, KEYS, &token).header("user-agent", &long).json(&json!({ "name": "n" })))
        .await;
    assert_eq!(items(&events(&server, &token, "").await)[0]["user_agent"], long[..255]);
}

#[tokio::test]
async fn audit_events_contain_no_secret() {
    let server = Server::start();
    let token = server.token_with("alice", SCOPES);
    let key = create_key(&server, &token, "n").await;
    let new = server.rotate(id(&key), secret(&key), Value::Null).await.body;
    assert_eq!(server.revoke(id(&key), secret(&new), Value::Null).await.status, 200);
    let page = events(&server, &token, "").await;
    assert_eq!(actions(&page), ["revoked", "rotated", "created"]);
    let rows = server.rows("SELECT changes FROM audit_events").await;
    let stored: String = rows.iter().map(|row| row.try_get::<String>("", "changes").unwrap()).collect();
    for secret in [secret(&key), secret(&new)] {
        for text in [&page.text, &stored] {
            assert!(!text.contains(secret) && !text.contains(&secret[7..48]), "{text}");
        }
    }
    assert!(stored.contains(new["last4"].as_str().unwrap()));
}

#[tokio::test]
async fn audit_omits_invalid_and_empty_changes() {
    let server = Server::start();
    let token = server.token("alice");
    let key = server.create_key(&token, &[]).await;
    server.patch(id(&key), &token, json!({ "name": "" })).await.assert_problem(422);
    server.patch(&unknown_key(), &token, json!({ "name": "m" })).await.assert_problem(404);
    assert_eq!(server.patch(id(&key), &token, json!({ "name": key["name"] })).await.status, 200);
    assert_eq!(server.get(&format!("{KEYS}{}", id(&key)), &token).await.status, 200);
    assert_eq!(actions(&events(&server, &token, "").await), ["created"]);
}

#[tokio::test]
async fn audit_list_shows_events_of_own_keys_by_any_actor() {
    let server = Server::start();
    let (alice, bob) = (server.token("alice"), server.token("bob"));
    let carol = server.token_with("carol", &["--scopes", "api-keys:admin"]);
    let (mine, theirs) = (create_plain_key(&server, &alice).await, create_plain_key(&server, &bob).await);
    for key in [&mine, &theirs] {
        let path = format!("/api/admin/api-keys/{}/revoke", id(key));
        assert_eq!(server.call(Method::POST, &path, &carol, Value::Null).await.status, 200);
    }
    let page = events(&server, &alice, "").await;
    assert_eq!(actions(&page), ["revoked", "created"]);
    assert!(items(&page).iter().all(|event| event["key_id"] == mine["id"]));
    assert_eq!(items(&page)[0]["actor"]["subject"], "carol");
    assert_eq!(items(&page)[0]["owner"]["subject"], "alice");
    assert_eq!(events(&server, &alice, &format!("?key_id={}", id(&theirs))).await.body, json!({ "items": [] }));
    assert_eq!(events(&server, &carol, "").await.body, json!({ "items": [] }), "what she did is not what she owns");
}

async fn create_plain_key(server: &Server, token: &str) -> Value {
    server.create_key(token, &[]).await
}

#[tokio::test]
async fn audit_list_pages_newest_first_and_filters() {
    let server = Server::start();
    let token = server.token("alice");
    let mut keys = Vec::new();
    for _ in 0..12 {
        let key = create_plain_key(&server, &token).await;
        assert_eq!(server.patch(id(&key), &token, json!({ "name": "m" })).await.status, 200);
        keys.push(key);
    }
    assert_eq!(items(&events(&server, &token, "").await).len(), 20);
    let (mut seen, mut next) = (Vec::new(), Some(format!("{EVENTS}?limit=5")));
    while let Some(path) = next {
        let page = server.get(&path, &token).await;
        assert_eq!(page.status, 200, "{}", page.text);
        seen.extend(items(&page).iter().map(|event| (event["key_id"].clone(), event["action"].clone())));
        let cursor = page.body["next_cursor"].as_str();
        next = page.next_page();
        assert_eq!(next.is_some(), cursor.is_some());
        assert!(next.as_deref().is_none_or(|next| next == format!("{EVENTS}?limit=5&cursor={}", cursor.unwrap())));
        let _newer = server.patch(id(&keys[0]), &token, json!({ "metadata": { "seen": seen.len() } })).await;
    }
    let both = |key: &Value| [(key["id"].clone(), json!("updated")), (key["id"].clone(), json!("created"))];
    assert_eq!(seen, keys.iter().rev().flat_map(both).collect::<Vec<_>>());

    for (action, count) in
        [("created", 12), ("rotated", 0), ("deleted", 0), ("revoked", 0), ("enabled", 0), ("disabled", 0)]
    {
        let page = events(&server, &token, &format!("?limit=100&action={action}")).await;
        assert_eq!(items(&page).len(), count, "{action}");
        assert!(actions(&page).iter().all(|found| *found == action));
    }
    let both = events(&server, &token, &format!("?key_id={}&action=created", id(&keys[3]))).await;
    assert_eq!((items(&both).len(), &items(&both)[0]["key_id"]), (1, &keys[3]["id"]));
    assert_eq!(events(&server, &token, &format!("?key_id={}", unknown_key())).await.body, json!({ "items": [] }));
    let ids: BTreeSet<_> =
        items(&events(&server, &token, "?limit=100").await).iter().map(|e| e["id"].to_string()).collect();
    assert!(ids.len() > 24, "each event has an id of its own");
}

#[tokio::test]
async fn audit_list_with_invalid_query_is_rejected() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:admin"]);
    for path in [EVENTS, "/api/admin/audit-events"] {
        for query in [
            "limit=0",
            "limit=101",
            "cursor=x",
            "key_id=",
            "key_id=x",
            "action=",
            "action=Created",
            "action=stolen",
            "subject=alice",
            "status=active",
            "action=created&action=revoked",
            "offset=1",
        ] {
            server.get(&format!("{path}?{query}"), &token).await.assert_problem(400);
        }
        server.get(&format!("{path}/x"), &token).await.assert_problem(404);
        let response = server.call(Method::DELETE, path, &token, Value::Null).await;
        response.assert_problem(405);
        assert_eq!(response.header("allow"), Some("GET, HEAD"));
    }
}

#[tokio::test]
async fn audit_list_by_key_requires_read_scope() {
    let server = Server::start();
    let token = server.token_with("alice", SCOPES);
    let reader = server.create_key_from(&token, json!({ "name": "r", "scopes": ["api-keys:read"] })).await;
    let writer = server.create_key_from(&token, json!({ "name": "w", "scopes": ["api-keys:write"] })).await;
    assert_eq!(actions(&events(&server, secret(&reader), "").await), ["created", "created"]);
    let response = server.get(EVENTS, secret(&writer)).await;
    response.assert_missing_scope("api-keys:read");
}
