//! Headers that every operation handles alike: Accept and X-Request-Id.

use reqwest::Method;
use serde_json::json;

use crate::ops::logs::line_of_request;
use crate::support::{KEYS, Response, Server};

#[tokio::test]
async fn accept_selects_media_type_of_errors() {
    let server = Server::start();
    let token = server.token("alice");
    for (accept, media_type) in [
        ("*/*", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
        ("application/json, application/problem+json;q=0.1", "application/problem+json"),
        ("text/html", "application/problem+json"),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.9", "application/json"),
    ] {
        for (path, credential, status) in [(KEYS, "", 401), (KEYS, &*token, 422), ("/nothing", "", 404)] {
            let request = server.request(Method::POST, path, credential).header("accept", accept);
            let response = Response::to(request.json(&json!({}))).await;
            assert_eq!(response.status, status);
            assert_eq!(response.header("content-type"), Some(media_type), "{accept}: {path}");
            assert_eq!(response.body["status"], status);
            assert!(["type", "title", "detail", "request_id"].iter().all(|member| response.body[member].is_string()));
        }
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn accept_never_prevents_success() {
    let server = Server::start();
    let token = server.token("alice");
    for accept in ["application/json", "application/problem+json", "text/html", "*/*"] {
        let request = server.request(Method::POST, KEYS, &token).header("accept", accept);
        let response = Response::to(request.json(&json!({ "name": "x" }))).await;
        assert_eq!(
            (response.status.as_u16(), response.header("content-type")),
            (201, Some("application/json")),
            "{accept}"
        );
    }
}

#[tokio::test]
async fn request_id_is_accepted_returned_and_stored() {
    let server = Server::start();
    let token = server.token("alice");
    for id in ["abc-123", "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11", "A.b_c-9", &"x".repeat(48)] {
        let request = server.request(Method::POST, KEYS, &token).header("x-request-id", id);
        let response = Response::to(request.json(&json!({ "name": "x" }))).await;
        assert_eq!((response.status.as_u16(), response.header("x-request-id")), (201, Some(id)));
        line_of_request(&server, id);
        let event = &server.rows("SELECT request_id FROM audit_events ORDER BY id DESC LIMIT 1").await[0];
        assert_eq!(event.try_get::<String>("", "request_id").unwrap(), id);
    }
    let request = server.request(Method::POST, KEYS, "").header("x-request-id", "on-an-error");
    let response = Response::to(request).await;
    response.assert_problem(401);
    assert_eq!(response.body["request_id"], "on-an-error");
}

#[tokio::test]
async fn request_id_that_is_malformed_is_replaced() {
    let server = Server::start();
    let token = server.token("alice");
    let long = "x".repeat(49);
    for bad in ["", "a b", "a\"b", "a=b", "a/b", "a\tb", "<script>", "é", &long, &token] {
        let value = reqwest::header::HeaderValue::from_bytes(bad.as_bytes()).unwrap();
        let request = server.request(Method::POST, KEYS, &token).header("x-request-id", value);
        let response = Response::to(request.json(&json!({ "name": "x" }))).await;
        let id = response.header("x-request-id").unwrap();
        assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7, "{bad:?}");
        line_of_request(&server, id);
    }
    assert!(!server.log().contains(&long) && !server.log().contains(&token));
}

#[tokio::test]
async fn request_id_that_is_generated_is_unique() {
    let server = Server::start();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let response = Response::to(server.request(Method::GET, "/nothing", "")).await;
        assert!(ids.insert(response.header("x-request-id").unwrap().to_owned()));
    }
}
