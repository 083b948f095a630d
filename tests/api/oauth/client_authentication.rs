//! How clients of the OAuth operations authenticate: bearer, Basic and the form field `client_secret`.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{GATEWAY, INTROSPECT, REVOKE, assert_oauth_error, authorized, challenges, form};
use crate::ops::metrics::Scrape;
use crate::support::{KEYS, Response, Server, VERIFY, eventually, id, secret};
use crate::wire;

const BASIC_CHALLENGE: &str = r#"Basic realm="mintkey", charset="UTF-8""#;

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

struct Site {
    server: Server,
    gateway: String,
    /// A key that verifies.
    verifier: String,
    /// A key to ask about.
    key: String,
}

impl Site {
    async fn start() -> Self {
        let server = Server::start();
        let gateway = server.token_with("gateway", GATEWAY);
        let verifier = server.create_key(&gateway, &["api-keys:verify"]).await;
        let key = server.create_key(&server.token("alice"), &["projects:read"]).await;
        let (verifier, key) = (secret(&verifier).to_owned(), secret(&key).to_owned());
        Self { server, gateway, verifier, key }
    }

    async fn introspect_with(&self, authorization: Option<&str>, fields: &str) -> Response {
        let body = format!("token={}{fields}", self.key);
        match authorization {
            Some(authorization) => authorized(&self.server, INTROSPECT, authorization, &body).await,
            None => Response::to(form(&self.server, INTROSPECT, "", body)).await,
        }
    }
}

#[tokio::test]
async fn client_authenticates_by_bearer_basic_or_form() {
    let site = Site::start().await;
    let (verifier, gateway) = (&*site.verifier, &*site.gateway);
    let encoded = verifier.replace('_', "%5F");
    let unpadded = basic("gateways", verifier);
    let unpadded = unpadded.trim_end_matches('=');
    for (authorization, fields) in [
        (Some(format!("Bearer {verifier}")), String::new()),
        (Some(format!("Bearer {gateway}")), "&client_id=x".to_owned()),
        (Some(basic("gateway", verifier)), String::new()),
        (Some(basic("", verifier)), String::new()),
        (Some(basic("a%3Ab", &encoded)), String::new()),
        (Some(basic("gateway", gateway)), String::new()),
        (Some(basic("gateway", verifier).replace("Basic ", "basic   ")), String::new()),
        (Some(unpadded.to_owned()), String::new()),
        (None, format!("&client_id=gateway&client_secret={verifier}")),
        (None, format!("&client_secret={encoded}")),
        (None, format!("&client_secret={gateway}")),
        (Some(format!("Bearer {verifier}")), format!("&client_secret={verifier}")),
        (Some(basic("gateway", verifier)), format!("&client_id=gateway&client_secret={encoded}")),
        (Some(basic("gateway", verifier)), "&client_secret=".to_owned()),
    ] {
        let response = site.introspect_with(authorization.as_deref(), &fields).await;
        assert_eq!((response.status.as_u16(), &response.body["active"]), (200, &json!(true)), "{}", response.text);
        assert_eq!(response.body["sub"], "alice");
    }
}

#[tokio::test]
async fn client_without_valid_credential_is_offered_both_schemes() {
    let site = Site::start().await;
    let (key, verifier) = (&*site.key, &*site.verifier);
    let before = site.server.dump().await;
    for (authorization, fields) in [
        (None, String::new()),
        (None, "&client_id=gateway".to_owned()),
        (None, "&client_id=gateway&client_secret=".to_owned()),
        (Some(format!("Digest {verifier}")), format!("&client_secret={verifier}")),
        (Some(basic("gateway", "")), String::new()),
        (Some(basic(verifier, "")), String::new()),
        (Some(basic("gateway", &format!("{verifier}:"))), String::new()),
        (Some("Basic".to_owned()), String::new()),
    ] {
        let response = site.introspect_with(authorization.as_deref(), &fields).await;
        assert_oauth_error(&response, 401, "invalid_client");
        assert_eq!(challenges(&response), ["Bearer", BASIC_CHALLENGE], "{authorization:?} {fields}");
    }
    for (authorization, fields) in [
        (None, "&client_secret=garbage".to_owned()),
        (None, format!("&client_secret={}", "x".repeat(16_400))),
        (Some("Basic garbage".to_owned()), String::new()),
        (Some(format!("Basic {}", STANDARD.encode(verifier))), String::new()),
        (Some(format!("Basic {}", STANDARD.encode(b"a:\xff"))), String::new()),
        (Some(basic("gateway", "%FF")), String::new()),
        (Some(basic("gateway", &format!("{verifier}+"))), String::new()),
        (Some(basic("gateway", "garbage")), format!("&client_secret={verifier}")),
    ] {
        let response = site.introspect_with(authorization.as_deref(), &fields).await;
        let status = if fields.len() > 16_000 { 413 } else { 401 };
        let error = if status == 401 { "invalid_client" } else { "invalid_request" };
        assert_oauth_error(&response, status, error);
        if status == 401 {
            let expected = [r#"Bearer error="invalid_token""#, BASIC_CHALLENGE];
            assert_eq!(challenges(&response), expected, "{authorization:?} {fields}");
        }
    }
    // A key without the scope, in each of the three places.
    for (authorization, fields) in [
        (Some(format!("Bearer {key}")), String::new()),
        (Some(basic("gateway", key)), String::new()),
        (None, format!("&client_secret={key}")),
    ] {
        let response = site.introspect_with(authorization.as_deref(), &fields).await;
        assert_oauth_error(&response, 403, "insufficient_scope");
        let challenge = r#"Bearer error="insufficient_scope", scope="api-keys:verify""#;
        assert_eq!(challenges(&response), [challenge]);
    }
    assert_eq!(site.server.dump().await, before);
}

#[tokio::test]
async fn client_with_two_different_credentials_is_rejected() {
    let site = Site::start().await;
    let verifier = &*site.verifier;
    let other = secret(&site.server.create_key(&site.gateway, &["api-keys:verify"]).await).to_owned();
    for path in [INTROSPECT, REVOKE] {
        for (authorization, fields) in [
            (format!("Bearer {verifier}"), format!("client_secret={other}")),
            (basic("gateway", verifier), format!("client_secret={other}")),
            (format!("Bearer {verifier}"), format!("client_secret={verifier}&client_secret={verifier}")),
            (format!("Bearer {verifier}"), "client_id=a&client_id=b".to_owned()),
        ] {
            let body = format!("token={}&{fields}", site.key);
            let response = authorized(&site.server, path, &authorization, &body).await;
            assert_oauth_error(&response, 400, "invalid_request");
            assert!(!response.text.contains(verifier) && !response.text.contains(&other), "{}", response.text);
        }
        let request = form(&site.server, path, verifier, format!("token={}", site.key));
        let twice = Response::to(request.header("authorization", basic("gateway", verifier))).await;
        assert_oauth_error(&twice, 400, "invalid_request");
    }
    assert_eq!(site.server.verify_code(&site.gateway, &site.key).await, "VALID");
}

#[tokio::test]
async fn basic_and_form_credentials_are_401_elsewhere() {
    let site = Site::start().await;
    let Site { server, gateway, .. } = &site;
    let all = server.token_with("carol", &["--scopes", "api-keys:admin api-keys:verify"]);
    let before = server.dump().await;
    for path in [KEYS, VERIFY, "/api/auth/api-keys/self", "/api/admin/api-keys", "/api/auth/forward"] {
        for credential in [&*all, gateway] {
            for method in [reqwest::Method::GET, reqwest::Method::POST] {
                let request = server.request(method.clone(), path, "").header("authorization", basic("x", credential));
                let response = Response::to(request.header("content-type", super::FORM).body("x=1")).await;
                let is_operation = response.status != 405;
                assert!(!is_operation || response.status == 401, "{method} {path}: {}", response.text);
                if is_operation {
                    assert_eq!(response.header("www-authenticate").map(|text| text.starts_with("Bearer")), Some(true));
                    assert!(!challenges(&response).contains(&BASIC_CHALLENGE), "{path}");
                }
                let request = form(server, path, "", format!("client_secret={credential}"));
                assert!([401, 405].contains(&Response::to(request).await.status.as_u16()), "{path}");
            }
        }
    }
    assert_eq!(server.dump().await, before);
}

/// Without a credential in its header, a form may take 16 KiB: more than that is not read.
#[tokio::test]
async fn form_of_unauthenticated_client_is_limited() {
    let site = Site::start().await;
    let Site { server, verifier, .. } = &site;
    let padded = |size: usize| {
        let start = format!("client_secret={verifier}&token=");
        format!("{start}{}", "x".repeat(size - start.len()))
    };
    for path in [INTROSPECT, REVOKE] {
        assert_eq!(Response::to(form(server, path, "", padded(16 * 1024))).await.status, 200, "{path}");
        let response = Response::to(form(server, path, "", padded(16 * 1024 + 1))).await;
        assert_oauth_error(&response, 413, "invalid_request");
        assert!(response.body["detail"].as_str().unwrap().contains("16 KiB"), "{}", response.text);
        let chunked = wire::chunked(&head(path, ""), padded(17 * 1024).as_bytes(), 1000);
        assert_eq!(wire::exchange(server, &chunked).status, 413, "{path}");
    }
    let large = padded(60_000);
    assert_eq!(Response::to(form(server, INTROSPECT, verifier, large.clone())).await.status, 200);
    // What is no form cannot hold a credential, and is not read.
    let unread =
        "POST /api/oauth/introspect HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n";
    assert_eq!(wire::exchange(server, unread.as_bytes()).status, 401);
}

fn head(path: &str, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nConnection: close\r\n{more}", super::FORM)
}

/// Forms that do not end fill a budget of their own: authenticated callers are not refused for them.
#[tokio::test]
async fn partial_forms_take_no_memory_from_authenticated_callers() {
    let server = Server::start_with(&["--request-memory", "1MiB", "--head-timeout", "10m", "--request-timeout", "10m"]);
    let gateway = server.token_with("gateway", GATEWAY);
    let verifier = server.create_key(&gateway, &["api-keys:verify"]).await;
    let partial = |path: &str| {
        let mut stream = wire::connect(&server);
        let request = head(path, "Content-Length: 16000\r\n\r\n") + &"x".repeat(15_000);
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let held: Vec<_> = [INTROSPECT, REVOKE, INTROSPECT, REVOKE].into_iter().map(partial).collect();
    let series = "mintkey_http_request_memory_bytes{part=\"forms\"}";
    eventually(Duration::from_secs(20), "the forms to be held", async || {
        (Scrape::of(&server).await.value(series) == 60_000.0).then_some(())
    })
    .await;
    for (path, active) in [(INTROSPECT, json!(false)), (REVOKE, json!(null))] {
        let refused = wire::reply(partial(path));
        assert_eq!(refused.status, 503, "{}", refused.head);
        assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
        assert_eq!((&refused.body["error"], &refused.body["active"]), (&json!("temporarily_unavailable"), &active));
        let detail = refused.body["detail"].as_str().unwrap();
        assert!(detail.contains("65536 bytes") && detail.contains("--request-memory"), "{detail}");
    }
    // One that arrives whole needs no room, and neither does one with a credential in its header.
    let body = format!("token={0}&client_secret={0}", secret(&verifier));
    assert_eq!(Response::to(form(&server, INTROSPECT, "", body.clone())).await.body["active"], true);
    let headers = format!("Authorization: Bearer {gateway}\r\n");
    let chunked = wire::chunked(&head(INTROSPECT, &headers), body.replace("client_secret", "x").as_bytes(), 9);
    let reply = wire::exchange(&server, &chunked);
    assert_eq!((reply.status, &reply.body["active"]), (200, &json!(true)), "{}", reply.head);
    drop(held);
    eventually(Duration::from_secs(20), "the forms to be given up", async || {
        (Scrape::of(&server).await.value(series) == 0.0).then_some(())
    })
    .await;
    assert_eq!(server.audit_actions(id(&verifier)).await, ["created"]);
}
