//! Requests to verify: which callers are allowed, and which bodies are accepted.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Response, Server, VERIFY, secret};

const SCOPE: &str = "api-keys:verify";

async fn send(server: &Server, credential: &str, body: impl Into<reqwest::Body>) -> Response {
    let request = server.request(Method::POST, VERIFY, credential).header("content-type", "application/json");
    Response::to(request.body(body)).await
}

#[tokio::test]
async fn verify_by_user_or_key_with_scope_succeeds() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", SCOPE]);
    let caller = server.create_key_from(&gateway, json!({ "name": "gateway", "scopes": [SCOPE] })).await;
    let key = server.create_key(&server.token("alice"), &[]).await;
    for credential in [&*gateway, secret(&caller)] {
        for _ in 0..2 {
            let response = server.verify(credential, json!({ "key": secret(&key) })).await;
            assert_eq!((response.status.as_u16(), &response.body["owner"]["subject"]), (200, &json!("alice")));
        }
    }
    assert_eq!(server.verify_code(secret(&caller), secret(&caller)).await, "VALID", "about itself");
    let response = Response::to(
        server.request(Method::POST, &format!("{VERIFY}/"), &gateway).json(&json!({ "key": secret(&key) })),
    );
    assert_eq!(response.await.status, 200, "with a slash at the end");
}

#[tokio::test]
async fn verify_without_scope_is_forbidden() {
    let server = Server::start();
    let every_other = "api-keys:read api-keys:write api-keys:admin api-keys:* api-keys:verify:x *";
    let alice = server.token_with("alice", &["--scopes", every_other]);
    let scopes: Vec<_> = every_other.split(' ').collect();
    let caller = server.create_key_from(&alice, json!({ "name": "caller", "scopes": scopes })).await;
    let plain = server.create_key_from(&alice, json!({ "name": "plain" })).await;
    let before = server.dump().await;
    for credential in [&*alice, &server.token("bob"), secret(&caller), secret(&plain)] {
        server.verify(credential, json!({ "key": secret(&plain) })).await.assert_missing_scope(SCOPE);
        server.verify(credential, json!({ "key": "garbage" })).await.assert_missing_scope(SCOPE);
        send(&server, credential, "not even JSON").await.assert_missing_scope(SCOPE);
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn verify_by_caller_that_lost_scope_is_forbidden_at_once() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", SCOPE]);
    let caller = server.create_key_from(&gateway, json!({ "name": "gateway", "scopes": [SCOPE] })).await;
    let key = server.create_key(&server.token("alice"), &[]).await;
    assert_eq!(server.verify_code(secret(&caller), secret(&key)).await, "VALID");
    let id = caller["id"].as_str().unwrap();
    assert_eq!(server.patch(id, &gateway, json!({ "scopes": [] })).await.status, 200);
    server.verify(secret(&caller), json!({ "key": secret(&key) })).await.assert_missing_scope(SCOPE);
    assert_eq!(server.revoke(id, &gateway, Value::Null).await.status, 200);
    let response = server.verify(secret(&caller), json!({ "key": secret(&key) })).await;
    response.assert_invalid_token();
}

#[tokio::test]
async fn verify_without_valid_credential_is_unauthorized() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    let anonymous = server.verify("", json!({ "key": secret(&key) })).await;
    anonymous.assert_unauthenticated();
    let expired = server.token_with("gateway", &["--scopes", SCOPE, "--ttl", "1s"]);
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let unknown = "mk_00000000000000000000000000000000000000000004NvClr";
    for bad in ["garbage", "a.b.c", unknown, &expired] {
        let response = server.verify(bad, json!({ "key": secret(&key) })).await;
        response.assert_problem(401);
        assert_eq!(response.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#), "{bad}");
    }
    let twice = server.request(Method::POST, VERIFY, &server.token_with("gateway", &["--scopes", SCOPE]));
    let twice = twice.header("authorization", format!("Bearer {}", secret(&key)));
    Response::to(twice.json(&json!({ "key": secret(&key) }))).await.assert_problem(400);
}

/// A verified token is cached, but no longer than until its expiry.
#[tokio::test]
async fn verify_with_cached_token_stops_at_its_expiry() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    let token = server.token_with("gateway", &["--scopes", SCOPE, "--ttl", "2s"]);
    for round in 0..200 {
        let response = server.verify(&token, json!({ "key": secret(&key) })).await;
        if response.status != 200 {
            response.assert_invalid_token();
            assert!(round > 1);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("a token of two seconds is still good");
}

#[tokio::test]
async fn verify_with_invalid_field_is_rejected_at_its_pointer() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", SCOPE]);
    let key = server.create_key(&server.token("alice"), &["a"]).await;
    let k = secret(&key);
    let many: Vec<_> = (0..101).map(|n| format!("s{n}")).collect();
    let before = server.dump().await;
    for (body, pointers) in [
        ("{}".to_owned(), vec!["/key"]),
        (r#"{"scopes":["a"]}"#.to_owned(), vec!["/key"]),
        (r#"{"key":null}"#.to_owned(), vec!["/key"]),
        (r#"{"key":5}"#.to_owned(), vec!["/key"]),
        (r#"{"key":["k"]}"#.to_owned(), vec!["/key"]),
        (format!(r#"{{"key":"{k}","scopes":"a"}}"#), vec!["/scopes"]),
        (format!(r#"{{"key":"{k}","scopes":{{}}}}"#), vec!["/scopes"]),
        (format!(r#"{{"key":"{k}","scopes":["a",5]}}"#), vec!["/scopes/1"]),
        (format!(r#"{{"key":"{k}","scopes":["a b"]}}"#), vec!["/scopes/0"]),
        (format!(r#"{{"key":"{k}","scopes":["{k}"]}}"#), vec!["/scopes/0"]),
        (format!(r#"{{"key":"{k}","any_of":[]}}"#), vec!["/any_of"]),
        (format!(r#"{{"key":"{k}","any_of":"a"}}"#), vec!["/any_of"]),
        (format!(r#"{{"key":"{k}","any_of":["a","a"]}}"#), vec!["/any_of"]),
        (format!(r#"{{"key":"{k}","any_of":["a","{k}"]}}"#), vec!["/any_of/1"]),
        (format!(r#"{{"key":"{k}","any_of":["\""],"scopes":["\\"]}}"#), vec!["/scopes/0", "/any_of/0"]),
        (json!({ "key": k, "any_of": many }).to_string(), vec!["/any_of"]),
        (format!(r#"{{"key":"{k}","anyOf":["a"]}}"#), vec!["/anyOf"]),
        (format!(r#"{{"key":"{k}","scopes":[""]}}"#), vec!["/scopes/0"]),
        (format!(r#"{{"key":"{k}","scopes":["a","a"]}}"#), vec!["/scopes"]),
        (json!({ "key": k, "scopes": many }).to_string(), vec!["/scopes"]),
        (format!(r#"{{"key":"{k}","more":1}}"#), vec!["/more"]),
        (format!(r#"{{"key":"{k}","Scopes":["a"]}}"#), vec!["/Scopes"]),
        (format!(r#"{{"key":"{k}","owner":"alice"}}"#), vec!["/owner"]),
        (format!(r#"{{"key":"{k}","key":"{k}"}}"#), vec!["/key"]),
        (format!(r#"{{"key":"{k}","scopes":["b"],"scopes":["a"]}}"#), vec!["/scopes"]),
        (format!(r#"{{"key":"{k}","{k}":1}}"#), vec![""]),
    ] {
        let response = send(&server, &gateway, body.clone()).await;
        response.assert_problem(422);
        assert_eq!(response.pointers(), pointers, "{body}");
        assert!(!response.text.contains(k), "{}", response.text);
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn verify_with_malformed_body_is_rejected() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", SCOPE]);
    let key = server.create_key(&server.token("alice"), &[]).await;
    let good = json!({ "key": secret(&key) }).to_string();
    for body in [
        "",
        " ",
        "null",
        "[]",
        "\"k\"",
        "{",
        &good[..good.len() - 1],
        &format!("{good} x"),
        &format!("{good}{good}"),
        &format!("[{good}]"),
        &format!("[\"{}\"]", secret(&key)),
        r#"{"key":"\ud800"}"#,
        "{\"key\":\"a\nb\"}",
        &format!("\u{feff}{good}"),
    ] {
        let response = send(&server, &gateway, body.to_owned()).await;
        let detail = response.assert_problem(400);
        assert!(!detail.contains("expected") && !response.text.contains(secret(&key)), "{body:?}: {detail}");
    }
    send(&server, &gateway, b"{\"key\":\"\xff\"}".to_vec()).await.assert_problem(400);
    for same in [format!(" \r\n\t{good} \n"), good.replace("key", "\\u006bey"), good.replace("mk_", "\\u006dk_")] {
        let response = send(&server, &gateway, same.clone()).await;
        assert_eq!((response.status.as_u16(), &response.body["code"]), (200, &json!("VALID")), "{same}");
    }
}

#[tokio::test]
async fn verify_rejects_other_media_types_methods_and_queries() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", SCOPE]);
    let key = server.create_key(&server.token("alice"), &[]).await;
    let good = json!({ "key": secret(&key) }).to_string();
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "json"] {
        let request = server.request(Method::POST, VERIFY, &gateway).header("content-type", media_type);
        Response::to(request.body(good.clone())).await.assert_problem(415);
    }
    Response::to(server.request(Method::POST, VERIFY, &gateway).body(good.clone())).await.assert_problem(415);
    let request =
        server.request(Method::POST, VERIFY, &gateway).header("content-type", "Application/JSON;charset=UTF-8");
    assert_eq!(Response::to(request.body(good.clone())).await.status, 200);

    send(&server, &gateway, json!({ "key": "x".repeat(64 * 1024) }).to_string()).await.assert_problem(413);
    server
        .call(Method::POST, &format!("{VERIFY}?key=x"), &gateway, json!({ "key": secret(&key) }))
        .await
        .assert_problem(400);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let response = server.call(method.clone(), VERIFY, &gateway, Value::Null).await;
        response.assert_problem(405);
        assert_eq!(response.header("allow"), Some("POST"), "{method}");
    }
}
