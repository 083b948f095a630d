//! Requests to verify: who may ask, and how the question is written.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Server, VERIFY, secret};

const SCOPE: &str = "api-keys:verify";

async fn send(server: &Server, credential: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = server.request(Method::POST, VERIFY, credential).header("content-type", "application/json");
    Answer::of(request.body(body)).await
}

fn lacks_the_scope(answer: &Answer) {
    assert!(answer.problem(403).contains(SCOPE), "{}", answer.text);
    let challenge = r#"Bearer error="insufficient_scope", scope="api-keys:verify""#;
    assert_eq!(answer.header("www-authenticate"), Some(challenge));
}

#[tokio::test]
async fn verify_by_user_or_key_with_scope_succeeds() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", SCOPE]);
    let caller = server.key(&gateway, json!({ "name": "gateway", "scopes": [SCOPE] })).await;
    let key = server.key(&server.token("alice"), json!({ "name": "k" })).await;
    for credential in [&*gateway, secret(&caller)] {
        for _ in 0..2 {
            let answer = server.verify(credential, json!({ "key": secret(&key) })).await;
            assert_eq!((answer.status.as_u16(), &answer.body["owner"]["subject"]), (200, &json!("alice")));
        }
    }
    assert_eq!(server.code(secret(&caller), secret(&caller)).await, "VALID", "about itself");
    let answer =
        Answer::of(server.request(Method::POST, &format!("{VERIFY}/"), &gateway).json(&json!({ "key": secret(&key) })));
    assert_eq!(answer.await.status, 200, "with a slash at the end");
}

#[tokio::test]
async fn verify_without_scope_is_forbidden() {
    let server = Server::start();
    let every_other = "api-keys:read api-keys:write api-keys:admin api-keys:* api-keys:verify:x *";
    let alice = server.token_with("alice", &["--scopes", every_other]);
    let scopes: Vec<_> = every_other.split(' ').collect();
    let caller = server.key(&alice, json!({ "name": "caller", "scopes": scopes })).await;
    let plain = server.key(&alice, json!({ "name": "plain" })).await;
    let before = server.dump().await;
    for credential in [&*alice, &server.token("bob"), secret(&caller), secret(&plain)] {
        lacks_the_scope(&server.verify(credential, json!({ "key": secret(&plain) })).await);
        lacks_the_scope(&server.verify(credential, json!({ "key": "garbage" })).await);
        lacks_the_scope(&send(&server, credential, "not even JSON").await);
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn verify_by_caller_that_lost_scope_is_forbidden_at_once() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", SCOPE]);
    let caller = server.key(&gateway, json!({ "name": "gateway", "scopes": [SCOPE] })).await;
    let key = server.key(&server.token("alice"), json!({ "name": "k" })).await;
    assert_eq!(server.code(secret(&caller), secret(&key)).await, "VALID");
    let id = caller["id"].as_str().unwrap();
    assert_eq!(server.patch(id, &gateway, json!({ "scopes": [] })).await.status, 200);
    lacks_the_scope(&server.verify(secret(&caller), json!({ "key": secret(&key) })).await);
    assert_eq!(server.revoke(id, &gateway, Value::Null).await.status, 200);
    let answer = server.verify(secret(&caller), json!({ "key": secret(&key) })).await;
    answer.problem(401);
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
}

#[tokio::test]
async fn verify_without_valid_credential_is_unauthorized() {
    let server = Server::start();
    let key = server.key(&server.token("alice"), json!({ "name": "k" })).await;
    let nobody = server.verify("", json!({ "key": secret(&key) })).await;
    nobody.problem(401);
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
    let expired = server.token_with("gateway", &["--scopes", SCOPE, "--ttl", "1s"]);
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let unknown = "mk_00000000000000000000000000000000000000000004NvClr";
    for bad in ["garbage", "a.b.c", unknown, &expired] {
        let answer = server.verify(bad, json!({ "key": secret(&key) })).await;
        answer.problem(401);
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#), "{bad}");
    }
    let twice = server.request(Method::POST, VERIFY, &server.token_with("gateway", &["--scopes", SCOPE]));
    let twice = twice.header("authorization", format!("Bearer {}", secret(&key)));
    Answer::of(twice.json(&json!({ "key": secret(&key) }))).await.problem(400);
}

/// A token is remembered once it was verified, and is no longer good than it says.
#[tokio::test]
async fn verify_with_cached_token_stops_at_its_expiry() {
    let server = Server::start();
    let key = server.key(&server.token("alice"), json!({ "name": "k" })).await;
    let token = server.token_with("gateway", &["--scopes", SCOPE, "--ttl", "2s"]);
    for good in 0..200 {
        let answer = server.verify(&token, json!({ "key": secret(&key) })).await;
        if answer.status != 200 {
            answer.problem(401);
            assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#));
            assert!(good > 1);
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
    let key = server.key(&server.token("alice"), json!({ "name": "k", "scopes": ["a"] })).await;
    let k = secret(&key);
    let many: Vec<_> = (0..101).map(|n| format!("s{n}")).collect();
    let before = server.dump().await;
    for (body, pointers) in [
        ("{}".to_owned(), vec!["/key"]),
        (r#"{"scopes":["a"]}"#.to_owned(), vec!["/key"]),
        (r#"{"key":null}"#.to_owned(), vec!["/key"]),
        (r#"{"key":5}"#.to_owned(), vec!["/key"]),
        (r#"{"key":["k"]}"#.to_owned(), vec!["/key"]),
        (format!(r#"{{"key":"{k}","scopes":null}}"#), vec!["/scopes"]),
        (format!(r#"{{"key":"{k}","scopes":"a"}}"#), vec!["/scopes"]),
        (format!(r#"{{"key":"{k}","scopes":{{}}}}"#), vec!["/scopes"]),
        (format!(r#"{{"key":"{k}","scopes":["a",5]}}"#), vec!["/scopes/1"]),
        (format!(r#"{{"key":"{k}","scopes":["A"]}}"#), vec!["/scopes/0"]),
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
        let answer = send(&server, &gateway, body.clone()).await;
        answer.problem(422);
        assert_eq!(answer.pointers(), pointers, "{body}");
        assert!(!answer.text.contains(k), "{}", answer.text);
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn verify_with_malformed_body_is_rejected() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", SCOPE]);
    let key = server.key(&server.token("alice"), json!({ "name": "k" })).await;
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
        let answer = send(&server, &gateway, body.to_owned()).await;
        let detail = answer.problem(400);
        assert!(!detail.contains("expected") && !answer.text.contains(secret(&key)), "{body:?}: {detail}");
    }
    send(&server, &gateway, b"{\"key\":\"\xff\"}".to_vec()).await.problem(400);
    for same in [format!(" \r\n\t{good} \n"), good.replace("key", "\\u006bey"), good.replace("mk_", "\\u006dk_")] {
        let answer = send(&server, &gateway, same.clone()).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (200, &json!("VALID")), "{same}");
    }
}

#[tokio::test]
async fn verify_rejects_other_media_types_methods_and_queries() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", SCOPE]);
    let key = server.key(&server.token("alice"), json!({ "name": "k" })).await;
    let good = json!({ "key": secret(&key) }).to_string();
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "json"] {
        let request = server.request(Method::POST, VERIFY, &gateway).header("content-type", media_type);
        Answer::of(request.body(good.clone())).await.problem(415);
    }
    Answer::of(server.request(Method::POST, VERIFY, &gateway).body(good.clone())).await.problem(415);
    let request =
        server.request(Method::POST, VERIFY, &gateway).header("content-type", "Application/JSON;charset=UTF-8");
    assert_eq!(Answer::of(request.body(good.clone())).await.status, 200);

    send(&server, &gateway, json!({ "key": "x".repeat(64 * 1024) }).to_string()).await.problem(413);
    server.ask(Method::POST, &format!("{VERIFY}?key=x"), &gateway, json!({ "key": secret(&key) })).await.problem(400);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = server.ask(method.clone(), VERIFY, &gateway, Value::Null).await;
        answer.problem(405);
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
}
