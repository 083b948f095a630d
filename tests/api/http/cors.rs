//! CORS: which pages can call the API, and which responses they can read.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, VERIFY, id, secret, unknown_key};
use crate::wire;

const APP: &str = "https://app.example.com";
const PHONE: &str = "capacitor://localhost";
const FORWARD: &str = "/api/auth/forward";

fn start() -> Server {
    Server::start_with(&["--cors-origin", APP, "--cors-origin", PHONE])
}

/// Sends the preflight of a request by a page of this origin.
async fn preflight(server: &Server, path: &str, origin: &str, method: &str) -> Response {
    let request = server.request(Method::OPTIONS, path, "").header("origin", origin);
    let request = request.header("access-control-request-method", method);
    Response::to(request.header("access-control-request-headers", "authorization,content-type")).await
}

/// Sends a request of a page.
async fn call(server: &Server, method: Method, path: &str, credential: &str, origin: &str) -> Response {
    Response::to(server.request(method, path, credential).header("origin", origin)).await
}

fn list<'r>(response: &'r Response, name: &str) -> Vec<&'r str> {
    response.header(name).unwrap_or_else(|| panic!("no {name}: {response:?}")).split(", ").collect()
}

/// Checks that a page of this origin can read the response.
#[track_caller]
fn assert_readable(response: &Response, origin: &str) {
    assert_eq!(response.header("access-control-allow-origin"), Some(origin), "{response:?}");
    assert!(response.headers.get_all("vary").iter().any(|value| value == "Origin"), "{response:?}");
    assert_eq!(response.header("access-control-allow-credentials"), None, "{response:?}");
    let exposed = list(response, "access-control-expose-headers");
    for name in ["Location", "ETag", "Link", "Retry-After", "X-Request-Id", "WWW-Authenticate", "RateLimit"] {
        assert!(exposed.contains(&name), "{name} is not in {exposed:?}");
    }
}

/// Checks that the response has no CORS headers.
#[track_caller]
fn assert_unreadable(response: &Response) {
    let cors = response.headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
    assert_eq!(cors.count(), 0, "{response:?}");
}

async fn paths_and_methods(server: &Server) -> Vec<(String, Vec<String>)> {
    let document = Response::to(server.request(Method::GET, "/openapi.json", "")).await.body;
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = |operations: &Value| operations.as_object().unwrap().keys().map(|m| m.to_uppercase()).collect();
    paths.map(|(path, operations)| (format!("/api{path}"), methods(operations))).collect()
}

#[tokio::test]
async fn preflight_of_every_operation_allows_its_methods() {
    let server = start();
    let mut paths = paths_and_methods(&server).await;
    paths.retain(|(path, _)| path != FORWARD);
    assert!(paths.len() > 10, "{paths:?}");
    paths.push(("/docs".to_owned(), vec!["GET".to_owned()]));
    paths.push(("/openapi.json".to_owned(), vec!["GET".to_owned()]));
    for (template, methods) in paths {
        let path = template.replace("{id}", &unknown_key());
        let other_spelling = path.strip_suffix('/').map_or(format!("{path}/"), str::to_owned);
        for method in &methods {
            for (path, origin) in [(&path, APP), (&other_spelling, PHONE)] {
                let response = preflight(&server, path, origin, method).await;
                assert_eq!((response.status.as_u16(), &*response.text), (204, ""), "{method} {path}");
                assert_readable(&response, origin);
                assert!(list(&response, "access-control-allow-methods").contains(&&**method), "{response:?}");
            }
        }
        // A page can read the 405 only if the preflight allowed the method.
        let response = preflight(&server, &path, APP, "PUT").await;
        assert!(list(&response, "access-control-allow-methods").contains(&"PUT"), "{template}: {response:?}");
    }
}

#[tokio::test]
async fn preflight_allows_every_header_that_an_operation_reads() {
    let server = start();
    let response = preflight(&server, KEYS, APP, "POST").await;
    let allowed = list(&response, "access-control-allow-headers");
    let read = ["Authorization", "Content-Type", "X-API-Key", "If-Match", "Idempotency-Key", "X-Request-Id"];
    for name in read.into_iter().chain(["traceparent", "tracestate", "*"]) {
        assert!(allowed.contains(&name), "{name} is not in {allowed:?}");
    }
    assert_eq!(response.header("access-control-max-age"), Some("7200"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn preflight_of_private_network_is_allowed_on_request() {
    let server = start();
    for (requested, allowed) in [(Some("true"), Some("true")), (Some("false"), None), (None, None)] {
        let request = server.request(Method::OPTIONS, KEYS, "").header("origin", APP);
        let mut request = request.header("access-control-request-method", "POST");
        if let Some(requested) = requested {
            request = request.header("access-control-request-private-network", requested);
        }
        let response = Response::to(request).await;
        assert_eq!(response.status, 204);
        assert_eq!(response.header("access-control-allow-private-network"), allowed, "{requested:?}");
    }
}

#[tokio::test]
async fn preflight_of_other_origin_is_403_that_names_it() {
    let server = start();
    for origin in [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://app.example.co",
        "https://sub.app.example.com",
        "HTTPS://APP.EXAMPLE.COM",
        "capacitor://localhost:80",
        "https://[2001:db8::1]:5173",
    ] {
        let response = preflight(&server, KEYS, origin, "POST").await;
        response.assert_problem_type(403, "origin-not-allowed");
        let detail = response.assert_problem(403);
        assert!(detail.contains(origin) && detail.contains("--cors-origin"), "{detail}");
        assert_unreadable(&response);
        assert_eq!(response.header("vary"), Some("Origin"));
        server.wait_for_log(&["status=403", "reason=\"origin-not-allowed\"", origin]);
    }
    let response = preflight(&server, KEYS, "null", "POST").await;
    assert!(response.assert_problem(403).contains("`null`"), "{}", response.text);
    assert_unreadable(&response);
    for list in [format!("{APP} {PHONE}"), format!("{APP},{PHONE}"), format!("{APP}/"), "*".into(), String::new()] {
        let response = preflight(&server, KEYS, &list, "POST").await;
        response.assert_problem_type(403, "origin-not-allowed");
        assert_unreadable(&response);
    }
}

#[tokio::test]
async fn preflight_never_shows_a_credential_sent_as_origin() {
    let server = start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    let key_in = |before: &str, after: &str| format!("{before}{}{after}", secret(&key));
    for origin in [key_in("", ""), key_in("https://", "@a.example"), key_in("app://", ""), "x".repeat(5_000)] {
        let response = preflight(&server, KEYS, &origin, "POST").await;
        response.assert_problem_type(403, "origin-not-allowed");
        assert!(!response.text.contains(&origin), "{}", response.text);
    }
    server.wait_for_log(&["reason=\"origin-not-allowed\""]);
    assert!(!server.log().contains(secret(&key)));
}

#[tokio::test]
async fn preflight_with_two_origins_is_403() {
    let server = start();
    let request = format!(
        "OPTIONS {KEYS} HTTP/1.1\r\nHost: mintkey\r\nConnection: close\r\nOrigin: {APP}\r\nOrigin: {PHONE}\r\n\
         Access-Control-Request-Method: POST\r\n\r\n"
    );
    let response = wire::exchange(&server, request.as_bytes());
    assert_eq!(response.status, 403);
    assert!(!response.head.contains("access-control-"), "{}", response.head);
}

#[tokio::test]
async fn response_of_every_status_is_readable_by_allowed_origins() {
    let server = start();
    let (alice, key) = (server.token("alice"), server.create_key(&server.token("alice"), &[]).await);
    let without_scopes = server.create_key(&alice, &[]).await;
    let large = json!({ "name": "x", "metadata": { "a": "x".repeat(70_000) } }).to_string();
    let known = format!("{KEYS}{}", id(&key));
    let unknown = format!("{KEYS}{}", unknown_key());
    for (origin, status, method, path, credential, body) in [
        (APP, 201, Method::POST, KEYS, &*alice, r#"{"name":"x"}"#),
        (PHONE, 201, Method::POST, KEYS, &alice, r#"{"name":"x"}"#),
        (APP, 200, Method::GET, KEYS, &alice, ""),
        (APP, 200, Method::HEAD, KEYS, &alice, ""),
        (APP, 200, Method::GET, &known, &alice, ""),
        (APP, 200, Method::GET, "/docs", "", ""),
        (APP, 200, Method::GET, "/openapi.json", "", ""),
        (APP, 400, Method::POST, KEYS, &alice, "{"),
        (APP, 401, Method::POST, KEYS, "", r#"{"name":"x"}"#),
        (APP, 401, Method::GET, &known, "garbled", ""),
        (PHONE, 401, Method::POST, VERIFY, "", r#"{"key":"x"}"#),
        (APP, 403, Method::GET, KEYS, secret(&without_scopes), ""),
        (APP, 404, Method::GET, &unknown, &alice, ""),
        (PHONE, 404, Method::GET, "/nothing", &alice, ""),
        (APP, 405, Method::PUT, KEYS, &alice, "{}"),
        (APP, 405, Method::OPTIONS, KEYS, "", ""),
        (APP, 413, Method::POST, KEYS, &alice, &large),
        (APP, 422, Method::POST, KEYS, &alice, "{}"),
        (APP, 204, Method::DELETE, &known, &alice, ""),
    ] {
        let request = server.request(method.clone(), path, credential).header("origin", origin);
        let request = request.header("content-type", "application/json");
        let response = Response::to(request.body(body.to_owned())).await;
        assert_eq!(response.status, status, "{method} {path}: {}", response.text);
        assert_readable(&response, origin);
    }
    let request = server.request(Method::POST, KEYS, &alice).header("origin", APP);
    let response = Response::to(request.header("content-type", "text/plain").body("{}")).await;
    response.assert_problem(415);
    assert_readable(&response, APP);
}

#[tokio::test]
async fn response_exposes_every_header_of_the_document() {
    let server = start();
    let document = Response::to(server.request(Method::GET, "/openapi.json", "")).await.body;
    let response = call(&server, Method::GET, "/openapi.json", "", APP).await;
    let exposed = list(&response, "access-control-expose-headers");
    let mut seen = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for response in
            operations.as_object().unwrap().values().flat_map(|o| o["responses"].as_object().unwrap().values())
        {
            for name in response["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
                // Every page can read it.
                let is_readable = name == "Cache-Control" || exposed.contains(&&**name);
                assert!(is_readable || path == "/auth/forward", "{path}: {name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

#[tokio::test]
async fn response_to_other_origins_has_no_cors_headers() {
    let server = start();
    let token = server.token("alice");
    for (credential, status) in [(&*token, 200), ("", 401)] {
        for origin in ["https://evil.example", "null", "https://app.example.com/"] {
            let response = call(&server, Method::GET, KEYS, credential, origin).await;
            assert_eq!((response.status.as_u16(), response.header("vary")), (status, Some("Origin")), "{origin}");
            assert_unreadable(&response);
        }
        let response = server.get(KEYS, credential).await;
        assert_eq!((response.status.as_u16(), response.header("vary")), (status, Some("Origin")));
        assert_unreadable(&response);
    }
}

#[tokio::test]
async fn cors_is_absent_from_forward_auth_and_probes() {
    let server = start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    for path in [FORWARD, "/api/auth/forward/any/path"] {
        // A proxy that forwards its client's preflight must not take it for a valid key.
        let refused = preflight(&server, path, APP, "GET").await;
        refused.assert_problem(401);
        let admitted = call(&server, Method::OPTIONS, path, secret(&key), APP).await;
        assert_eq!(admitted.status, 200);
        for response in [refused, admitted] {
            assert_unreadable(&response);
            assert_eq!(response.header("vary"), None);
        }
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(preflight(&server, path, APP, "GET").await.status, 405, "{path}");
        let response = call(&server, Method::GET, path, "", APP).await;
        assert_eq!(response.status, 200, "{path}");
        assert_unreadable(&response);
    }
}

#[tokio::test]
async fn cors_is_absent_from_admin_listener() {
    let server = Server::start_with(&["--cors-origin", APP, "--admin-listen", "127.0.0.1:0"]);
    for path in ["/livez", "/metrics", "/nothing"] {
        let url = format!("{}{path}", server.admin_url());
        let response = Response::to(crate::support::client().get(url).header("origin", APP)).await;
        assert_unreadable(&response);
        assert_eq!(response.header("vary"), None);
    }
}

#[tokio::test]
async fn cors_is_off_by_default() {
    let server = Server::start();
    let token = server.token("alice");
    let refused = preflight(&server, KEYS, APP, "POST").await;
    refused.assert_problem(405);
    assert_eq!(refused.header("allow"), Some("GET, HEAD, POST"));
    for response in [refused, call(&server, Method::GET, KEYS, &token, APP).await] {
        assert_unreadable(&response);
        assert_eq!(response.header("vary"), None);
    }
}

#[tokio::test]
async fn options_that_is_no_preflight_is_405_with_allow() {
    let server = start();
    for headers in [&[][..], &[("origin", APP)], &[("access-control-request-method", "POST")]] {
        let mut request = server.request(Method::OPTIONS, KEYS, "");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = Response::to(request).await;
        response.assert_problem(405);
        assert_eq!(response.header("allow"), Some("GET, HEAD, POST"), "{headers:?}");
    }
}

#[tokio::test]
async fn preflight_of_unknown_path_lets_the_page_read_the_404() {
    let server = start();
    for path in ["/nothing", "/api/nothing", "/api/auth/api-keys/x/y/z"] {
        for method in ["GET", "PUT", "PATCH", "DELETE"] {
            let response = preflight(&server, path, APP, method).await;
            assert_eq!(response.status, 204, "{path}");
            assert!(list(&response, "access-control-allow-methods").contains(&method), "{path}");
        }
    }
    let response = call(&server, Method::DELETE, "/api/nothing", "", APP).await;
    response.assert_problem(404);
    assert_readable(&response, APP);
}
