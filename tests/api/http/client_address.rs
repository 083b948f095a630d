//! The client's address behind proxies, in audit events and in the log.

use reqwest::Method;
use serde_json::json;

use crate::ops::logs::line_of_request;
use crate::support::{KEYS, Response, Server, id};

const AUDIT: &str = "/api/auth/audit-events";

/// Creates a key with these headers. Checks the address in its audit event and in the log line of the request.
async fn assert_address(server: &Server, headers: &[(&str, &str)], expected: &str) {
    let token = server.token("alice");
    let mut request = server.request(Method::POST, KEYS, &token).json(&json!({ "name": "x" }));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = Response::to(request).await;
    assert_eq!(response.status, 201, "{}", response.text);
    let events = server.request(Method::GET, &format!("{AUDIT}?key_id={}", id(&response.body)), &token);
    let events = Response::to(events).await;
    assert_eq!(events.body["items"][0]["client_address"], expected, "{headers:?}: {}", events.text);
    let line = line_of_request(server, response.header("x-request-id").unwrap());
    assert_eq!(line["client_address"], expected, "{headers:?}");
}

#[tokio::test]
async fn client_address_is_that_of_the_peer_without_trusted_proxies() {
    for arguments in [&[][..], &["--trusted-proxy", "192.0.2.0/24"], &["--trusted-proxy", "::1"]] {
        let server = Server::start_with(arguments);
        for header in ["x-forwarded-for", "forwarded", "x-real-ip", "x-client-ip", "cf-connecting-ip"] {
            let value = if header == "forwarded" { "for=6.6.6.6" } else { "6.6.6.6" };
            assert_address(&server, &[(header, value)], "127.0.0.1").await;
        }
    }
}

#[tokio::test]
async fn client_address_is_what_a_trusted_proxy_appended() {
    let server = Server::start_with(&["--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.0.0.0/8"]);
    for (headers, expected) in [
        (&[][..], "127.0.0.1"),
        (&[("x-forwarded-for", "192.0.2.1")], "192.0.2.1"),
        (&[("x-forwarded-for", "6.6.6.6, 2001:db8::1, 10.1.2.3")], "2001:db8::1"),
        (&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1:4711")], "192.0.2.1"),
        (&[("x-forwarded-for", "6.6.6.6, unknown, 10.1.2.3")], "10.1.2.3"),
        (&[("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=6.6.6.6"), ("x-real-ip", "6.6.6.6")], "192.0.2.1"),
        (&[("forwarded", "for=6.6.6.6")], "127.0.0.1"),
    ] {
        assert_address(&server, headers, expected).await;
    }
    let refused = server.request(Method::POST, KEYS, "garbled").header("x-forwarded-for", "192.0.2.9").json(&json!({}));
    let refused = Response::to(refused).await;
    assert_eq!(refused.status, 401);
    assert_eq!(line_of_request(&server, refused.header("x-request-id").unwrap())["client_address"], "192.0.2.9");
}

#[tokio::test]
async fn client_address_is_read_from_forwarded_if_set() {
    let arguments = ["--trusted-proxy", "127.0.0.0/8", "--forwarded-header", "forwarded"];
    let server = Server::start_with(&arguments);
    let sent = ("forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:4711\";proto=https");
    assert_address(&server, &[sent, ("x-forwarded-for", "6.6.6.6")], "2001:db8::1").await;
    assert_address(&server, &[("x-forwarded-for", "6.6.6.6")], "127.0.0.1").await;
}
