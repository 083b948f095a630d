//! Errors of routing: unknown paths, methods and query parameters, and the order of checks.

use reqwest::Method;

use crate::support::{KEYS, Response, Server};
use crate::wire;

const VALID: &str = r#"{"name":"example"}"#;

#[tokio::test]
async fn path_that_is_unknown_is_404() {
    let server = Server::start();
    let token = server.token("alice");
    for path in [
        "/api",
        "/api/",
        "/api/auth",
        "/api/auth/api-key/",
        "/api/auth/api-keysX",
        "/API/AUTH/API-KEYS/",
        "/api//auth/api-keys/",
        "/api/auth//api-keys/",
        "/api/auth%2fapi-keys/",
        "/auth/api-keys/",
        "/favicon",
        "/.env",
    ] {
        for credential in ["", &token] {
            for method in [Method::GET, Method::POST] {
                let request = server.request(method.clone(), path, credential);
                let response = Response::to(request.header("content-type", "application/json").body(VALID)).await;
                assert_eq!(response.status, 404, "{method} {path}: {}", response.text);
                response.assert_problem(404);
                assert!(!response.text.contains(path), "{}", response.text);
            }
        }
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn path_with_two_trailing_slashes_is_404() {
    let server = Server::start();
    let token = server.token("alice");
    for path in ["/api/auth/api-keys//", "/api/auth/api-keys///", "/docs//", "/openapi.json//"] {
        for method in [Method::GET, Method::POST] {
            let request = server.request(method.clone(), path, &token).header("content-type", "application/json");
            let response = Response::to(request.body(VALID)).await;
            assert_eq!(response.status, 404, "{method} {path}: {}", response.text);
        }
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

/// The expected value of `Allow` for the collection of keys, from the OpenAPI document.
async fn documented_methods(server: &Server) -> String {
    let document = Response::to(server.request(Method::GET, "/openapi.json", "")).await.body;
    let path = document["paths"]["/auth/api-keys/"].as_object().unwrap();
    let mut methods: Vec<_> = path.keys().map(|method| method.to_uppercase()).collect();
    if methods.contains(&"GET".to_owned()) {
        methods.push("HEAD".to_owned());
    }
    methods.sort_unstable();
    methods.join(", ")
}

#[tokio::test]
async fn method_not_supported_is_405_with_allow() {
    const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"];
    let server = Server::start();
    let token = server.token("alice");
    let keys = documented_methods(&server).await;
    let page = "GET, HEAD";
    for (path, allow) in [
        (KEYS, &*keys),
        ("/api/auth/api-keys", &keys),
        ("/openapi.json", page),
        ("/docs/", page),
        ("/", page),
        ("/favicon.ico", page),
    ] {
        let allowed: Vec<_> = allow.split(", ").collect();
        for method in METHODS.iter().filter(|method| !allowed.contains(method)) {
            for credential in ["", &token] {
                let tried = Method::from_bytes(method.as_bytes()).unwrap();
                let response = Response::to(server.request(tried, path, credential)).await;
                assert_eq!((response.status.as_u16(), response.header("allow")), (405, Some(allow)), "{method} {path}");
                if *method == "HEAD" {
                    assert_eq!(response.text, "");
                } else {
                    response.assert_problem(405);
                }
            }
        }
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn query_with_unknown_parameter_is_rejected() {
    let server = Server::start();
    let token = server.token("alice");
    let send = async |query: &str| {
        let request = server.request(Method::POST, &format!("{KEYS}{query}"), &token);
        Response::to(request.header("content-type", "application/json").body(VALID)).await
    };
    for query in ["?owner=bob", "?owner", "?name=x&owner=bob", "?%6fwner=bob", "?=x", "?a[]=1", "?dry_run=true"] {
        let response = send(query).await;
        assert_eq!(response.status, 400, "{query}: {}", response.text);
        assert!(!response.assert_problem(400).contains("bob"));
    }
    assert!(send("?owner=bob").await.assert_problem(400).contains("owner"));
    assert_eq!(server.counts().await, [0, 0, 0]);
    assert_eq!(send("?").await.status, 201);
}

#[tokio::test]
async fn errors_are_checked_in_fixed_order() {
    let server = Server::start();
    let token = server.token("alice");
    let send = async |method: Method, path: &str, credential: &str, content_type: &str, body: &'static str| {
        let request = server.request(method, path, credential).header("content-type", content_type);
        Response::to(request.body(body)).await.status.as_u16()
    };
    assert_eq!(send(Method::PUT, "/nothing?x=1", "bad", "text/plain", "{").await, 404);
    assert_eq!(send(Method::PUT, KEYS, "bad", "text/plain", "{").await, 405);
    assert_eq!(send(Method::POST, KEYS, "bad", "text/plain", "{").await, 401);
    assert_eq!(send(Method::POST, KEYS, &token, "text/plain", "{").await, 415);
    assert_eq!(send(Method::POST, KEYS, &token, "application/json", "{").await, 400);
    assert_eq!(send(Method::POST, KEYS, &token, "application/json", "{}").await, 422);
}

#[tokio::test]
async fn request_that_is_not_http_is_400() {
    let server = Server::start();
    let token = server.token("alice");
    for request in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "POST / HTTP/9.9\r\n\r\n".to_owned(),
        format!("{}Content-Length: -1\r\n\r\n{VALID}", wire::head(&token)),
        format!("{}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{VALID}", wire::head(&token)),
        format!("{}Transfer-Encoding: chunked\r\n\r\nzz\r\n{VALID}", wire::head(&token)),
        format!("{}Content-Length: 18\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", wire::head(&token)),
    ] {
        let reply = wire::exchange(&server, request.as_bytes());
        assert_eq!(reply.status, 400, "{request}: {}", reply.head);
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
    assert_eq!(server.create_raw(&token, VALID).await.status, 201);
}
