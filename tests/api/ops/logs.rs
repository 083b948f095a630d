//! Logs: one line per request, as text or JSON, and what must not be in it.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server};
use crate::wire;

/// The fields of the request lines, in either format.
pub fn request_lines(server: &Server) -> Vec<BTreeMap<String, String>> {
    server.log().lines().filter(|line| line.contains("request completed")).map(fields).collect()
}

fn fields(line: &str) -> BTreeMap<String, String> {
    match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(object)) => {
            let span = object["span"].as_object().cloned().unwrap_or_default();
            let fields = object.into_iter().chain(span);
            fields.map(|(name, value)| (name, value.as_str().map_or(value.to_string(), str::to_owned))).collect()
        }
        _ => {
            let words = line.split([' ', '{', '}']).filter_map(|word| word.trim_end_matches(':').split_once('='));
            words.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
        }
    }
}

/// Waits for the line of this request. Checks that it is the only one.
pub fn line_of_request(server: &Server, request_id: &str) -> BTreeMap<String, String> {
    server.wait_for_log(&["request completed", request_id]);
    let mut lines: Vec<_> = request_lines(server).into_iter().filter(|line| line["request_id"] == request_id).collect();
    assert_eq!(lines.len(), 1, "{}", server.log());
    lines.remove(0)
}

#[tokio::test]
async fn log_has_one_line_per_request() {
    for format in ["text", "json"] {
        let server = Server::start_with(&["--log-format", format]);
        let token = server.token("alice");
        for (method, path, credential, route, status, subject) in [
            (Method::POST, KEYS, &*token, KEYS, "201", Some("alice")),
            (Method::POST, "/api/auth/api-keys", &*token, KEYS, "201", Some("alice")),
            (Method::POST, KEYS, "garbled", KEYS, "401", None),
            (Method::PUT, KEYS, &*token, KEYS, "405", None),
            (Method::GET, "/openapi.json", "", "/openapi.json", "200", None),
            (Method::GET, "/nothing/at/all", "", "-", "404", None),
        ] {
            let request = server.request(method.clone(), path, credential).json(&json!({ "name": "x" }));
            let response = Response::to(request).await;
            let line = line_of_request(&server, response.header("x-request-id").unwrap());
            assert_eq!(line["method"], method.as_str(), "{format}: {line:?}");
            assert_eq!(line["route"], route, "{format}: {line:?}");
            assert_eq!(line["status"], status, "{format}: {line:?}");
            assert_eq!(line.get("subject").map(String::as_str), subject, "{format}: {line:?}");
            assert!(line["duration_ms"].parse::<f64>().unwrap() > 0.0, "{format}: {line:?}");
        }
    }
}

#[tokio::test]
async fn log_json_lines_have_time_level_and_target() {
    let mut server = Server::start_with(&["--log-format", "json", "--log-level", "debug"]);
    server.create_key(&server.token("alice"), &[]).await;
    server.create("garbled", json!({})).await.assert_problem(401);
    server.terminate();
    server.wait_for_log(&["server stopped"]);
    let lines: Vec<Value> = server.log().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.len() >= 4);
    for line in lines {
        let text = |member: &str| line[member].as_str().unwrap_or_else(|| panic!("no {member}: {line}"));
        assert!(chrono::DateTime::parse_from_rfc3339(text("timestamp")).is_ok(), "{line}");
        assert!(["INFO", "WARN", "ERROR", "DEBUG"].contains(&text("level")), "{line}");
        assert!(text("target").starts_with("mintkey"), "{line}");
        assert!(!text("message").is_empty());
    }
}

#[tokio::test]
async fn log_line_has_trace_id_of_traceparent() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    for format in ["text", "json"] {
        let server = Server::start_with(&["--log-format", format]);
        for (traceparent, expected) in [
            (format!("00-{TRACE}-00f067aa0ba902b7-01"), Some(TRACE)),
            (format!("00-{TRACE}-00f067aa0ba902b7-01-more"), None),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
            ("garbled".to_owned(), None),
        ] {
            let request = server.request(Method::GET, "/nothing", "").header("traceparent", &traceparent);
            let response = Response::to(request).await;
            let line = line_of_request(&server, response.header("x-request-id").unwrap());
            assert_eq!(line.get("trace_id").map(String::as_str), expected, "{format} {traceparent}");
        }
    }
}

#[tokio::test]
async fn log_line_omits_text_from_clients() {
    for format in ["text", "json"] {
        let server = Server::start_with(&["--log-format", format, "--log-level", "debug"]);
        let token = server.token("alice");
        let made_up = "madeup77";
        for (path, body) in [
            (format!("/{made_up}"), json!({ "name": "x" })),
            (format!("/api/auth/api-keys/{made_up}"), json!({ "name": "x" })),
            (format!("{KEYS}?{made_up}={made_up}"), json!({ "name": "x" })),
            (KEYS.to_owned(), json!({ "name": made_up, "metadata": { made_up: made_up } })),
            (KEYS.to_owned(), json!({ "name": "x", made_up: made_up })),
            (KEYS.to_owned(), json!({ "name": "x", "expires_at": made_up })),
            (KEYS.to_owned(), json!(made_up)),
        ] {
            let request = server.request(Method::POST, &path, &token).header("user-agent", made_up);
            let request = request.header("x-forwarded-for", made_up).header("cookie", made_up);
            let response = Response::to(request.header("referer", made_up).json(&body)).await;
            line_of_request(&server, response.header("x-request-id").unwrap());
        }
        assert!(!server.log().contains(made_up), "{}", server.log());
    }
}

#[tokio::test]
async fn log_line_of_401_has_reason() {
    type Headers<'a> = &'a [(&'a str, &'a [u8])];
    const FORWARD: &str = "/api/auth/forward";
    let server = Server::start();
    let long = format!("Bearer {}", "a".repeat(16 * 1024 + 1));
    let cases: [(&str, Headers, &str); 7] = [
        (KEYS, &[("authorization", b"Bearer \xff")], "malformed_header"),
        (KEYS, &[("authorization", long.as_bytes())], "credential_too_long"),
        (KEYS, &[("authorization", b"Bearer garbage")], "opaque_token"),
        (FORWARD, &[("authorization", b"Basic YTpi")], "malformed_header"),
        (FORWARD, &[("x-api-key", b"")], "malformed_header"),
        (FORWARD, &[("x-api-key", b"garbage")], "NOT_FOUND"),
        (FORWARD, &[("x-api-key", b"garbage"), ("authorization", b"Bearer garbage")], "several_credentials"),
    ];
    for (path, headers, reason) in cases {
        let request = server.request(Method::GET, path, "");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = Response::to(request).await;
        response.assert_problem(401);
        let line = line_of_request(&server, response.header("x-request-id").unwrap());
        assert_eq!(line.get("reason").map(String::as_str), Some(reason), "{path} {line:?}");
    }
}

#[tokio::test]
async fn log_line_cannot_be_forged() {
    let server = Server::start();
    let token = server.token("alice\u{2028}INFO request completed status=200\u{202e}");
    server.create_key(&token, &[]).await;
    let request = "GET /%0aINFO%20request%20completed HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\tstatus=200\r\nConnection: close\r\n\r\n";
    assert_eq!(wire::exchange(&server, request.as_bytes()).status, 404);
    server.wait_for_log(&["status=404"]);
    assert_eq!(server.log().lines().filter(|line| line.contains("request completed")).count(), 2);
    assert!(!server.log().contains(['\u{2028}', '\u{202e}', '\t']), "{}", server.log());
}
