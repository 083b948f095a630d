//! Canaries: secrets and tokens put wherever a client could put them, and then looked for wherever they must not be.

use std::fs;

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::support::{KEYS, Response, Server};
use crate::wire;

const PLANTED: &str = "planted-where-it-may-be";

/// Everything that a client was told in an error, or could have been told.
#[derive(Default)]
struct Errors(String);

impl Errors {
    async fn expect_error(&mut self, request: RequestBuilder) {
        let response = Response::to(request).await;
        assert!(response.status.is_client_error() || response.status.is_server_error(), "{}", response.status);
        self.0.push_str(&format!("{:?}\n{}\n", response.headers, response.text));
    }

    fn expect_raw_error(&mut self, server: &Server, request: &str) {
        let reply = wire::exchange(server, request.as_bytes());
        assert!(reply.status >= 400, "{request}: {}", reply.head);
        self.0.push_str(&format!("{}\n{}\n", reply.head, reply.body));
    }
}

/// Where a canary stands, by place. Names of headers are folded to lower case, so bytes are compared in that form too.
fn places_with(canary: &str, places: &[(String, Vec<u8>)]) -> Vec<String> {
    let lower = canary.to_ascii_lowercase();
    let holds = |bytes: &[u8]| {
        [canary, &lower].iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
    };
    places.iter().filter(|(_, bytes)| holds(bytes)).map(|(place, _)| place.clone()).collect()
}

async fn places(server: &Server, errors: &Errors) -> Vec<(String, Vec<u8>)> {
    let mut places =
        vec![("log".to_owned(), server.log().into_bytes()), ("errors".to_owned(), errors.0.clone().into_bytes())];
    for entry in fs::read_dir(&server.data).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.contains(".db") {
            places.push((name, fs::read(entry.path()).unwrap()));
        }
    }
    assert!(places.iter().any(|(name, bytes)| name.ends_with("-wal") && !bytes.is_empty()), "no WAL to look into");
    for path in ["/openapi.json", "/openapi.yaml", "/docs", "/metrics", "/readyz"] {
        let page = Response::to(server.request(Method::GET, path, "")).await;
        assert_eq!(page.status, 200);
        places.push((path.to_owned(), page.text.into_bytes()));
    }
    places
}

fn post(server: &Server, credential: &str) -> RequestBuilder {
    server.request(Method::POST, KEYS, credential).header("content-type", "application/json")
}

/// In the address, and in headers.
async fn around_the_body(server: &Server, token: &str, canary: &str, errors: &mut Errors) {
    for path in [
        format!("/{canary}"),
        format!("/api/{canary}"),
        format!("/api/auth/api-keys/{canary}"),
        format!("/api/auth/api-keys/{canary}/revoke"),
        format!("{KEYS}?key={canary}"),
        format!("{KEYS}?{canary}=1"),
        format!("{KEYS}?{canary}"),
        format!("{KEYS}?a=1&access_token={canary}"),
        format!("/openapi.json?{canary}"),
    ] {
        errors.expect_error(server.request(Method::POST, &path, token).json(&json!({ "name": "x" }))).await;
        errors.expect_error(server.request(Method::GET, &path, "")).await;
    }
    for header in ["x-request-id", "traceparent", "tracestate", "accept", "cookie", "x-api-key", "user-agent", "host"] {
        errors.expect_error(post(server, "").header(header, canary).body("{}")).await;
        errors.expect_error(post(server, token).header(header, canary).body("{}")).await;
    }
    errors.expect_error(server.request(Method::POST, KEYS, token).header("content-type", canary).body("{}")).await;
    errors.expect_error(post(server, token).header("content-encoding", canary).body("{}")).await;
    for authorization in [
        format!("Basic {canary}"),
        format!("Basic alice:{canary}"),
        canary.to_owned(),
        format!("Bearer {canary}x"),
        format!("Bearer {canary} {canary}"),
        format!("Bearer \"{canary}\""),
        format!("Bearer, {canary}"),
        format!("{canary} x"),
    ] {
        let value = HeaderValue::from_str(&authorization).unwrap();
        errors.expect_error(post(server, "").header("authorization", value).body(r#"{"name":"x"}"#)).await;
    }
}

/// Requests that no client library would send.
fn on_the_wire(server: &Server, canary: &str, errors: &mut Errors) {
    for request in [
        format!("{}Authorization: Bearer {canary}\r\nContent-Length: 2\r\n\r\n{{}}", wire::head(canary)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{canary}: 1\r\nConnection: close\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{canary}\r\n\r\n"),
        format!("GET {canary} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        format!("{canary}\r\n\r\n"),
        format!("{}Transfer-Encoding: chunked\r\n\r\n{canary}\r\n", wire::head("x")),
    ] {
        errors.expect_raw_error(server, &request);
    }
}

async fn in_the_body(server: &Server, token: &str, canary: &str, errors: &mut Errors) {
    for body in [
        canary.to_owned(),
        format!("\"{canary}\""),
        format!("[\"{canary}\"]"),
        format!("{{\"name\":{canary}}}"),
        format!("{{\"name\":\"{canary}\""),
        format!("{{\"name\":\"{canary}\"}}{canary}"),
        format!("{{\"{canary}\"}}"),
        format!("{{\"{canary}\":1}}"),
        format!("{{\"name\":\"x\",\"{canary}\":1}}"),
        format!("{{\"name\":\"x\",\"{canary}\":1,\"{canary}\":2}}"),
        format!("{{\"name\":\"x\",\"metadata\":{{\"{canary}\":1,\"{canary}\":2}}}}"),
        format!("{{\"name\":\"x\",\"metadata\":{{\"{canary}\":{{\"a\":1,\"a\":2}}}}}}"),
        format!("{{\"name\":\"x\",\"metadata\":\"{canary}\"}}"),
        format!("{{\"name\":\"\\u0000{canary}\"}}"),
        format!("{{\"name\":[\"{canary}\"]}}"),
        format!("{{\"name\":\"{canary}\",\"owner\":\"{canary}\"}}"),
        format!("{{\"name\":\"x\",\"scopes\":\"{canary}\"}}"),
        format!("{{\"name\":\"x\",\"scopes\":[\"{canary} \"]}}"),
        format!("{{\"name\":\"x\",\"scopes\":[\"api-keys:{canary}\"]}}"),
        format!("{{\"name\":\"x\",\"expires_at\":\"{canary}\"}}"),
        format!("{{\"name\":\"x\",\"expires_in_seconds\":\"{canary}\"}}"),
        format!("{{\"name\":\"{canary}\",\"metadata\":{{\"a\":\"{}\"}}}}", "x".repeat(70_000)),
        format!("key={canary}"),
    ] {
        errors.expect_error(post(server, token).body(body.clone())).await;
        errors.expect_error(post(server, "").body(body.clone())).await;
        errors
            .expect_error(server.request(Method::POST, KEYS, token).header("content-type", "text/plain").body(body))
            .await;
    }
}

/// As credentials that fail at each stage, with a database that is away at the end.
async fn as_credentials(server: &Server, canaries: &[&str], errors: &mut Errors) {
    let (here, away) = (server.data.join("mintkey.db"), server.data.join("away"));
    for canary in canaries {
        errors.expect_error(post(server, canary).body("{")).await;
        errors.expect_error(post(server, canary).body("{}")).await;
        errors.expect_error(post(server, canary).body(r#"{"name":"x","scopes":["api-keys:admin"]}"#)).await;
        errors.expect_error(server.request(Method::DELETE, KEYS, canary)).await;
        fs::rename(&here, &away).unwrap();
        errors.expect_error(post(server, canary).body(r#"{"name":"x"}"#)).await;
        fs::rename(&away, &here).unwrap();
    }
}

async fn nothing_is_left_of_canaries(format: &str) {
    let mut server = Server::start_with(&["--log-format", format, "--log-level", "debug"]);
    let token = server.token_with("alice", &["--scopes", "api-keys:write"]);
    let body = json!({ "name": PLANTED, "scopes": ["api-keys:write"] });
    let secret = server.create_key_from(&token, body.clone()).await["key"].as_str().unwrap().to_owned();
    let child = server.create_key_from(&secret, body).await["key"].as_str().unwrap().to_owned();

    let mut errors = Errors::default();
    as_credentials(&server, &[&token, &secret, &child], &mut errors).await;
    for canary in [&token, &secret] {
        around_the_body(&server, &token, canary, &mut errors).await;
        on_the_wire(&server, canary, &mut errors);
        in_the_body(&server, &token, canary, &mut errors).await;
    }
    errors.expect_error(post(&server, "").header("x-request-id", PLANTED).body("{}")).await;
    server.wait_for_log(&[PLANTED]);

    let places = places(&server, &errors).await;
    let planted_places = places_with(PLANTED, &places);
    assert!(
        planted_places.iter().any(|place| place == "log") && planted_places.iter().any(|place| place == "errors"),
        "{planted_places:?}"
    );
    assert!(planted_places.iter().any(|place| place.contains(".db")), "{planted_places:?}");
    assert_eq!(places_with("openapi:", &places), ["/openapi.yaml"]);

    let master = fs::read_to_string(server.data.join("master.secret")).unwrap();
    let signing = fs::read_to_string(server.data.join("signing.key")).unwrap();
    let jwt: Vec<_> = token.split('.').collect();
    let canaries =
        [&token, jwt[1], jwt[2], &secret, &secret[3..], &child[3..], master.trim(), signing.lines().nth(1).unwrap()];
    let leaks: Vec<_> = canaries.iter().flat_map(|canary| places_with(canary, &places)).collect();
    let lines: Vec<_> = canaries.iter().map(|canary| lines_with(&server, canary)).collect();
    assert_eq!(leaks, [""; 0], "{}", lines.join("\n"));

    server.terminate();
    let database = fs::read(server.data.join("mintkey.db")).unwrap();
    let places = [("mintkey.db".to_owned(), database), ("log".to_owned(), server.log().into_bytes())];
    assert_eq!(places_with(PLANTED, &places), ["mintkey.db", "log"]);
    for canary in canaries {
        assert_eq!(places_with(canary, &places), [""; 0]);
    }
}

fn lines_with(server: &Server, canary: &str) -> String {
    server.log().lines().filter(|line| line.contains(canary)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn secrets_leak_nowhere_with_text_logs() {
    nothing_is_left_of_canaries("text").await;
}

#[tokio::test]
async fn secrets_leak_nowhere_with_json_logs() {
    nothing_is_left_of_canaries("json").await;
}

/// A method is a word of the client's choice (RFC 9110, section 9.1), and so is what a log must not repeat.
#[tokio::test]
async fn secrets_sent_as_method_leak_nowhere() {
    for format in ["text", "json"] {
        let mut server = Server::start_with(&["--log-format", format, "--log-level", "debug"]);
        let token = server.token("alice");
        let secret =
            server.create_key_from(&token, json!({ "name": PLANTED })).await["key"].as_str().unwrap().to_owned();
        let mut errors = Errors::default();
        for canary in [&token, &secret] {
            for path in ["/", KEYS] {
                errors.expect_raw_error(
                    &server,
                    &format!("{canary} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
                );
            }
        }
        server.terminate();
        server.wait_for_log(&["stopped"]);
        let places = [("log".to_owned(), server.log().into_bytes()), ("errors".to_owned(), errors.0.into_bytes())];
        for canary in [&token, &secret] {
            assert_eq!(places_with(canary, &places), [""; 0], "{}", lines_with(&server, canary));
        }
    }
}
