//! Bodies: media types, and what cannot be read as one JSON object.

use reqwest::Method;

use crate::support::{KEYS, Response, Server};

const VALID: &str = r#"{"name":"example"}"#;

/// Checks that each body gets a 400 without words of the parser, and changes nothing.
async fn assert_bad_requests<B: Into<reqwest::Body> + Clone + std::fmt::Debug>(bodies: &[B]) {
    let server = Server::start();
    let token = server.token("alice");
    for body in bodies {
        let response = server.create_raw(&token, body.clone()).await;
        assert_eq!(response.status, 400, "{body:?}: {}", response.text);
        let detail = response.assert_problem(400);
        for word in ["serde", "expected", "EOF", "trailing", "invalid type", "recursion"] {
            assert!(!detail.contains(word), "{body:?}: {detail}");
        }
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn body_of_malformed_json_is_rejected() {
    assert_bad_requests(&[
        "{",
        "}",
        "{\"name\"}",
        "{\"name\":}",
        "{\"name\":\"x\"",
        "{\"name\":\"x}",
        "{\"name\":\"x\",}",
        "{\"name\":\"x\",\"scopes\":[\"a\",]}",
        "{,\"name\":\"x\"}",
        "{\"name\" \"x\"}",
        "{'name':'x'}",
        "{name:\"x\"}",
        "{\"name\":\"x\"} {}",
        "{\"name\":\"x\"}{\"name\":\"y\"}",
        "{\"name\":\"x\"}\0",
        "{\"name\":\"a\nb\"}",
        "{\"name\":\"a\0b\"}",
        "{\"name\":\"\\x41\"}",
        "{\"name\":\"\\u12\"}",
        "{\"name\":\"\\ud800\"}",
        "{\"name\":\"\\udc00\\ud800\"}",
        "{\"name\":NaN}",
        "{\"name\":Infinity}",
        "{\"name\":undefined}",
        "{\"name\":01}",
        "{\"name\":+1}",
        "{\"name\":.5}",
        "{\"name\":\"x\"/* so */}",
        "// so\n{\"name\":\"x\"}",
        "\u{feff}{\"name\":\"x\"}",
        "name=x",
        "<name>x</name>",
        "--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nx\r\n--x--",
    ])
    .await;
}

#[tokio::test]
async fn body_that_is_empty_is_rejected() {
    assert_bad_requests(&["", " ", "\r\n\t "]).await;
    let server = Server::start();
    let response = server.create_raw(&server.token("alice"), "").await;
    assert!(response.assert_problem(400).contains("empty"), "{}", response.text);
}

#[tokio::test]
async fn body_that_is_not_an_object_is_rejected() {
    assert_bad_requests(&["[]", "[{\"name\":\"x\"}]", "null", "true", "5", "-0.5e1", "\"\"", "\"{}\"", " [ ] "]).await;
}

#[tokio::test]
async fn body_that_is_not_utf_8_is_rejected() {
    let utf_16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    assert_bad_requests(&[
        b"{\"name\":\"\xff\"}".to_vec(),
        b"{\"name\":\"\xc3\"}".to_vec(),
        b"{\"name\":\"\xc0\xaf\"}".to_vec(),
        b"{\"name\":\"\xed\xa0\x80\"}".to_vec(),
        b"{\"name\":\"x\",\"\xff\":1}".to_vec(),
        b"\x80".to_vec(),
        vec![0; 16],
        utf_16("{\"name\":\"x\"}"),
    ])
    .await;
}

#[tokio::test]
async fn body_nested_too_deeply_is_rejected() {
    let server = Server::start();
    let token = server.token("alice");
    let nested = |open: &str, close: &str, depth: usize| {
        format!(r#"{{"name":"x","metadata":{{"a":{}0{}}}}}"#, open.repeat(depth), close.repeat(depth))
    };
    for body in [
        nested("[", "]", 1_000),
        nested(r#"{"a":"#, "}", 1_000),
        nested("[", "]", 30_000),
        "[".repeat(60_000),
        r#"{"a":"#.repeat(10_000),
    ] {
        let response = server.create_raw(&token, body).await;
        assert!([400, 422].contains(&response.status.as_u16()), "{}", response.text);
        response.assert_problem(response.status.as_u16());
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
    assert_eq!(server.create_raw(&token, nested("[", "]", 50)).await.status, 201);
    assert_eq!(server.counts().await, [1, 1, 1]);
}

#[tokio::test]
async fn body_of_other_media_type_is_415() {
    let server = Server::start();
    let token = server.token("alice");
    for declared in [
        &[][..],
        &[""],
        &["text/plain"],
        &["text/json"],
        &["application/x-www-form-urlencoded"],
        &["multipart/form-data; boundary=x"],
        &["application/xml"],
        &["application/octet-stream"],
        &["application/problem+json"],
        &["application/jsonp"],
        &["application/json5"],
        &["application/*"],
        &["*/*"],
        &["application/json, text/plain"],
        &["application/json; charset=iso-8859-1"],
        &["application/json; charset=utf-16"],
        &["application/json; charset=utf-8; charset=utf-16"],
        &["application/json; boundary=x"],
        &["application/json", "application/json"],
        &["application/json", "text/plain"],
    ] {
        let mut request = server.request(Method::POST, KEYS, &token).body(VALID);
        for value in declared {
            request = request.header("content-type", *value);
        }
        let response = Response::to(request).await;
        assert_eq!(response.status, 415, "{declared:?}: {}", response.text);
        assert!(response.assert_problem(415).contains("application/json"));
    }
    for encoding in ["gzip", "br", "deflate", "gzip, gzip", "x-unknown"] {
        let request = server.request(Method::POST, KEYS, &token).header("content-type", "application/json");
        let response = Response::to(request.header("content-encoding", encoding).body(VALID)).await;
        assert_eq!(response.status, 415, "{encoding}: {}", response.text);
        assert!(response.assert_problem(415).contains("Content-Encoding"));
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn body_accepts_every_spelling_of_json_media_type() {
    let server = Server::start();
    let token = server.token("alice");
    let declared = [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json; charset=UTF-8",
        "application/json ; charset=\"utf-8\"",
        "application/json;",
    ];
    for content_type in declared {
        let request = server.request(Method::POST, KEYS, &token).header("content-type", content_type).body(VALID);
        assert_eq!(Response::to(request).await.status, 201, "{content_type}");
    }
    assert_eq!(server.counts().await, [declared.len() as i64; 3]);
}
