//! Body size: bodies at the limit and over it, with Content-Length and chunked.

use reqwest::Method;

use crate::support::{KEYS, Server};
use crate::wire;

const LIMIT: usize = 64 * 1024;

/// A valid body, padded with whitespace.
fn padded(length: usize) -> String {
    let body = r#"{"name":"example"}"#;
    body.to_owned() + &" ".repeat(length - body.len())
}

#[tokio::test]
async fn body_of_64_kib_is_accepted() {
    let server = Server::start();
    let token = server.token("alice");
    assert_eq!(server.create_raw(&token, padded(LIMIT)).await.status, 201);
    for size in [1_000, LIMIT] {
        let request = wire::chunked(&wire::head(&token), padded(LIMIT).as_bytes(), size);
        assert_eq!(wire::exchange(&server, &request).status, 201);
    }
    let name = format!(r#"{{"name":"{}"}}"#, "x".repeat(LIMIT - 11));
    assert_eq!(name.len(), LIMIT);
    server.create_raw(&token, name).await.assert_problem(422);
    assert_eq!(server.counts().await, [3, 3, 3]);
}

#[tokio::test]
async fn body_over_64_kib_is_413() {
    let server = Server::start();
    let token = server.token("alice");
    assert!(server.create_raw(&token, padded(LIMIT + 1)).await.assert_problem(413).contains("64 KiB"));
    for size in [1, 1_000, LIMIT + 1] {
        let request = wire::chunked(&wire::head(&token), padded(LIMIT + 1).as_bytes(), size);
        let reply = wire::exchange(&server, &request);
        assert_eq!(reply.status, 413, "{}", reply.head);
        assert!(reply.head.contains("content-type: application/problem+json"));
        assert_eq!(reply.body["status"], 413);
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn body_of_5_mib_still_receives_413() {
    let server = Server::start();
    let token = server.token("alice");
    let body = padded(5 * 1024 * 1024);
    for _ in 0..5 {
        let declared = format!("{}Content-Length: {}\r\n\r\n{body}", wire::head(&token), body.len());
        assert_eq!(wire::exchange(&server, declared.as_bytes()).status, 413);
        let chunked = wire::chunked(&wire::head(&token), body.as_bytes(), 8_000);
        assert_eq!(wire::exchange(&server, &chunked).status, 413);
        server.create_raw(&token, body.clone()).await.assert_problem(413);
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn body_of_5_mib_still_receives_other_errors() {
    let server = Server::start();
    let token = server.token("alice");
    let body = padded(5 * 1024 * 1024);
    let head = wire::head(&token);
    for (head, status) in [
        (wire::head("garbled"), 401),
        (head.replacen("POST", "PUT", 1), 405),
        (head.replacen("/api/", "/nothing/", 1), 404),
        (head.replacen("application/json", "text/plain", 1), 415),
    ] {
        for _ in 0..5 {
            let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            assert_eq!(wire::exchange(&server, request.as_bytes()).status, status);
        }
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn body_of_5_mib_from_client_library_receives_401() {
    let server = Server::start();
    let body = padded(5 * 1024 * 1024);
    for _ in 0..5 {
        for credential in ["", "garbled"] {
            let request = server.request(Method::POST, KEYS, credential).header("content-type", "application/json");
            let response = request.body(body.clone()).send().await;
            assert_eq!(response.expect("a response").status(), 401);
        }
    }
}

#[tokio::test]
async fn body_shorter_than_declared_creates_no_key() {
    let server = Server::start();
    let token = server.token("alice");
    let body = r#"{"name":"example"}"#;
    let mut stream = wire::connect(&server);
    let request = format!("{}Content-Length: {}\r\n\r\n{body}", wire::head(&token), body.len() + 1);
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut response = String::new();
    let _closed = std::io::Read::read_to_string(&mut stream, &mut response);
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 400"), "{response}");
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn body_that_does_not_arrive_in_time_is_408() {
    let server = Server::start_with(&["--request-timeout", "300ms"]);
    let token = server.token("alice");
    let request = format!("{}Content-Length: 18\r\n\r\n{{\"name\"", wire::head(&token));
    let reply = wire::exchange(&server, request.as_bytes());
    assert_eq!((reply.status, &reply.body["status"]), (408, &serde_json::json!(408)));
    assert_eq!(server.counts().await, [0, 0, 0]);
}
