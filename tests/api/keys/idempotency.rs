//! Idempotency keys of create and rotate: a repeated request is executed once and gets the same response.

mod authority;
mod master_secrets;
mod under_load;

use chrono::{DateTime, Utc};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id, secret};

const IDEMPOTENCY_KEY: &str = "an-unguessable-request-key-7b1d";

fn idempotent_request(server: &Server, path: &str, credential: &str, name: &str, body: &Value) -> RequestBuilder {
    let request = server.request(Method::POST, path, credential).header("idempotency-key", name);
    if body.is_null() { request } else { request.json(body) }
}

async fn create(server: &Server, credential: &str, name: &str, body: &Value) -> Response {
    Response::to(idempotent_request(server, KEYS, credential, name, body)).await
}

async fn rotate(server: &Server, credential: &str, key: &Value, name: &str, body: &Value) -> Response {
    Response::to(idempotent_request(server, &format!("{KEYS}{}/rotate", id(key)), credential, name, body)).await
}

fn assert_created(response: &Response) {
    assert_eq!(response.status, 201, "{}", response.text);
    assert_eq!(response.header("idempotency-replayed"), None);
}

fn assert_replayed(again: &Response, first: &Response) {
    assert_eq!(again.status, 201, "{}", again.text);
    assert_eq!(again.text, first.text);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    for name in ["location", "cache-control", "content-type", "content-length"] {
        assert_eq!(again.headers.get(name), first.headers.get(name), "{name}");
    }
}

#[tokio::test]
async fn create_repeated_with_idempotency_key_returns_same_secret() {
    let server = Server::start();
    let token = server.token("alice");
    let body = json!({
        "name": "é", "scopes": ["b", "a"], "metadata": { "z": [1, null], "a": "x" }, "expires_in_seconds": 3600,
    });
    let first = create(&server, &token, IDEMPOTENCY_KEY, &body).await;
    assert_created(&first);
    let before = server.dump().await;
    for name in [IDEMPOTENCY_KEY, &format!("\"{IDEMPOTENCY_KEY}\""), &format!("  {IDEMPOTENCY_KEY} ")] {
        assert_replayed(&create(&server, &token, name, &body).await, &first);
    }
    assert_eq!(server.dump().await, before);
    assert_eq!(server.counts().await, [1, 1, 1]);
    let another_token = server.token("alice");
    assert_replayed(&create(&server, &another_token, IDEMPOTENCY_KEY, &body).await, &first);
}

#[tokio::test]
async fn rotate_repeated_with_idempotency_key_returns_same_secret() {
    let server = Server::start();
    let token = server.token("alice");
    let key = server.create_key(&token, &[]).await;
    for (name, body, secrets) in
        [(IDEMPOTENCY_KEY, Value::Null, 2), ("another-name-of-24-chars", json!({ "grace_seconds": 60 }), 3)]
    {
        let first = rotate(&server, &token, &key, name, &body).await;
        assert_created(&first);
        let before = server.dump().await;
        for _ in 0..2 {
            assert_replayed(&rotate(&server, &token, &key, name, &body).await, &first);
        }
        assert_eq!(server.dump().await, before);
        assert_eq!(server.count("secrets").await, secrets);
    }
    let refused = rotate(&server, &token, &key, "a-third-name-of-24-chars", &Value::Null).await;
    refused.assert_problem_type(409, "rotation-in-progress");
}

#[tokio::test]
async fn create_replays_response_that_would_now_be_rejected() {
    let server = Server::start();
    let token = server.token("alice");
    let soon = mintkey::domain::clock::Clock::System.now() + chrono::TimeDelta::seconds(2);
    let body = json!({ "name": "k", "expires_at": soon.to_rfc3339() });
    let (first, revoked) = (create(&server, &token, IDEMPOTENCY_KEY, &body).await, json!({ "name": "revoked" }));
    assert_created(&first);
    let ended = create(&server, &token, "another-name-of-24-chars", &revoked).await;
    assert_eq!(server.delete(id(&ended.body), &token).await.status, 204);
    assert_replayed(&create(&server, &token, "another-name-of-24-chars", &revoked).await, &ended);
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    assert_replayed(&create(&server, &token, IDEMPOTENCY_KEY, &body).await, &first);
    assert_eq!(server.counts().await[..2], [2, 2]);
}

#[tokio::test]
async fn create_rejected_leaves_idempotency_key_unused() {
    let server = Server::start();
    let token = server.token("alice");
    for refused in [json!({ "name": "" }), json!({ "name": "x", "scopes": ["api-keys:admin"] }), json!({})] {
        let response = create(&server, &token, IDEMPOTENCY_KEY, &refused).await;
        assert!([403, 422].contains(&response.status.as_u16()), "{}", response.text);
        assert_eq!(response.body["type"], "about:blank");
    }
    assert_eq!(server.count("idempotency_records").await, 0);
    assert_created(&create(&server, &token, IDEMPOTENCY_KEY, &json!({ "name": "x" })).await);
}

#[tokio::test]
async fn idempotency_key_reused_with_other_body_is_rejected() {
    let server = Server::start();
    let token = server.token("alice");
    let key = create(&server, &token, IDEMPOTENCY_KEY, &json!({ "name": "x" })).await.body;
    assert_created(&rotate(&server, &token, &key, IDEMPOTENCY_KEY, &json!({ "grace_seconds": 0 })).await);
    let before = server.dump().await;
    for body in [json!({ "name": "y" }), json!({ "name": "x", "scopes": [] })] {
        let response = create(&server, &token, IDEMPOTENCY_KEY, &body).await;
        response.assert_problem_type(422, "idempotency-key-reused");
        assert!(!response.text.contains(secret(&key)));
    }
    let response = rotate(&server, &token, &key, IDEMPOTENCY_KEY, &json!({ "grace_seconds": 5 })).await;
    response.assert_problem_type(422, "idempotency-key-reused");
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn idempotency_key_that_is_malformed_is_rejected() {
    let server = Server::start();
    let token = server.token("alice");
    let body = json!({ "name": "x" });
    let key = server.create_key_from(&token, body.clone()).await;
    let before = server.dump().await;
    let bad = ["", "\"\"", "short", &"x".repeat(19), &format!("\"{}\"", "x".repeat(19)), &"x".repeat(256)];
    for name in bad.into_iter().chain(["a name with spaces in it that is long", "tab\tin-a-name-that-is-long-enough"]) {
        create(&server, &token, name, &body).await.assert_problem(400);
        rotate(&server, &token, &key, name, &Value::Null).await.assert_problem(400);
    }
    let obscure = reqwest::header::HeaderValue::from_bytes("é-in-a-name-that-is-long-enough".as_bytes()).unwrap();
    let request = server.request(Method::POST, KEYS, &token).header("idempotency-key", obscure).json(&body);
    Response::to(request).await.assert_problem(400);
    let twice =
        idempotent_request(&server, KEYS, &token, IDEMPOTENCY_KEY, &body).header("idempotency-key", IDEMPOTENCY_KEY);
    Response::to(twice).await.assert_problem(400);
    assert_eq!(server.dump().await, before);

    for name in
        ["x".repeat(20), "V1StGXR8_Z5jdHi6B-myT".to_owned(), "~!\"#$%&'()*+,-./:;<=>?@".to_owned(), "x".repeat(255)]
    {
        assert_created(&create(&server, &token, &name, &body).await);
    }
}

#[tokio::test]
async fn idempotency_key_is_scoped_to_caller_operation_and_key() {
    let server = Server::start();
    let scopes = &["--scopes", "api-keys:write"];
    let (alice, bob) = (server.token_with("alice", scopes), server.token_with("bob", scopes));
    let body = json!({ "name": "x", "scopes": ["api-keys:write"] });
    let first = create(&server, &alice, IDEMPOTENCY_KEY, &body).await;
    let others = create(&server, &bob, IDEMPOTENCY_KEY, &body).await;
    let by_key = create(&server, secret(&first.body), IDEMPOTENCY_KEY, &body).await;
    let by_other_key = create(&server, secret(&by_key.body), IDEMPOTENCY_KEY, &body).await;
    let mut responses = vec![first, others, by_key, by_other_key];
    for index in [0, 2] {
        responses.push(rotate(&server, &alice, &responses[index].body, IDEMPOTENCY_KEY, &Value::Null).await);
    }
    let mut secrets: Vec<_> = responses.iter().map(|response| secret(&response.body)).collect();
    responses.iter().for_each(assert_created);
    secrets.sort_unstable();
    assert!(secrets.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(server.counts().await, [4, 6, 6]);
}

#[tokio::test]
async fn idempotency_key_is_ignored_by_update() {
    let server = Server::start();
    let token = server.token("alice");
    let key = server.create_key(&token, &[]).await;
    for name in [IDEMPOTENCY_KEY, "short"] {
        let patch = server.request(Method::PATCH, &format!("{KEYS}{}", id(&key)), &token);
        let response = Response::to(patch.header("idempotency-key", name).json(&json!({ "name": name }))).await;
        assert_eq!((response.status.as_u16(), &response.body["name"]), (200, &json!(name)));
    }
    assert_eq!(server.count("idempotency_records").await, 0);
}

#[tokio::test]
async fn idempotency_key_can_be_reused_after_24_hours() {
    let server = Server::start();
    let token = server.token("alice");
    let body = json!({ "name": "x" });
    let first = create(&server, &token, IDEMPOTENCY_KEY, &body).await;
    let rotated = rotate(&server, &token, &first.body, IDEMPOTENCY_KEY, &Value::Null).await;
    let kept = server.rows("SELECT r.expires_at, k.created_at FROM idempotency_records r, api_keys k").await;
    assert_eq!(kept.len(), 2);
    for row in kept {
        let time = |column: &str| row.try_get::<DateTime<Utc>>("", column).unwrap();
        assert_eq!((time("expires_at") - time("created_at")).num_hours(), 24);
    }
    server.execute("UPDATE idempotency_records SET expires_at = (SELECT created_at FROM api_keys)").await;

    let again = rotate(&server, &token, &first.body, IDEMPOTENCY_KEY, &json!({ "grace_seconds": 60 })).await;
    assert_created(&again);
    assert_ne!(secret(&again.body), secret(&rotated.body));
    let second = create(&server, &token, IDEMPOTENCY_KEY, &json!({ "name": "y" })).await;
    assert_created(&second);
    assert_ne!(second.body["id"], first.body["id"]);
    assert_replayed(&create(&server, &token, IDEMPOTENCY_KEY, &json!({ "name": "y" })).await, &second);
    assert_eq!(server.counts().await, [2, 4, 4]);
    assert_eq!(server.count("idempotency_records").await, 2);
}
