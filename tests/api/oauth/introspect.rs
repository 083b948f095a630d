//! Introspect: OAuth 2.0 token introspection (RFC 7662) of API keys.

use chrono::DateTime;
use reqwest::Method;
use serde_json::{Value, json};

use super::{FORM, GATEWAY, INTROSPECT as PATH, assert_oauth_error, challenges, form};
use crate::support::{KEYS, Response, Server, id, secret};

async fn send(server: &Server, credential: &str, media_type: &str, form: impl Into<reqwest::Body>) -> Response {
    let request = server.request(Method::POST, PATH, credential).header("content-type", media_type);
    Response::to(request.body(form)).await
}

async fn introspect(server: &Server, gateway: &str, token: &str) -> Response {
    send(server, gateway, FORM, format!("token={token}")).await
}

/// Checks the whole response, byte for byte: it gives no reason.
async fn assert_inactive(server: &Server, gateway: &str, token: &str) {
    let response = introspect(server, gateway, token).await;
    assert_eq!((response.status.as_u16(), &*response.text), (200, r#"{"active":false}"#), "{token}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

fn seconds(value: &Value) -> i64 {
    DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().timestamp()
}

#[tokio::test]
async fn introspect_active_key_has_rfc_7662_fields() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let body = json!({ "name": "k", "scopes": ["projects:read", "files:*"], "expires_at": "2040-01-01T00:00:00Z" });
    let key = server.create_key_from(&server.token_with("alice", &["--organization", "acme"]), body).await;
    let before = server.dump().await;
    let response = introspect(&server, &gateway, secret(&key)).await;
    assert_eq!(response.status, 200, "{}", response.text);
    let expected = json!({
        "active": true,
        "scope": "projects:read files:*",
        "client_id": key["id"],
        "sub": "alice",
        "iss": "urn:mintkey:standalone",
        "iat": seconds(&key["created_at"]),
        "exp": seconds(&key["expires_at"]),
        "token_type": "Bearer",
    });
    assert_eq!(response.body, expected);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(introspect(&server, &gateway, secret(&key)).await.text, response.text, "from memory");
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn introspect_omits_exp_and_scope_of_a_key_without() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let key = server.create_key(&server.token("alice"), &[]).await;
    let response = introspect(&server, &gateway, secret(&key)).await;
    assert_eq!(response.body["active"], true, "{}", response.text);
    for absent in ["scope", "exp"] {
        assert!(response.body.get(absent).is_none(), "{absent}: {}", response.text);
    }
}

#[tokio::test]
async fn introspect_omits_exp_if_set() {
    let server = Server::start_with(&["--introspection-omit-exp"]);
    let gateway = server.token_with("gateway", GATEWAY);
    let key = server.create_key_from(&server.token("alice"), json!({ "name": "k", "expires_in_seconds": 1 })).await;
    let response = introspect(&server, &gateway, secret(&key)).await;
    assert_eq!((&response.body["active"], response.body.get("exp")), (&json!(true), None), "{}", response.text);
    tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
    assert_inactive(&server, &gateway, secret(&key)).await;
}

#[tokio::test]
async fn introspect_exp_is_end_of_presented_secret() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let alice = server.token("alice");
    let key = server.create_key_from(&alice, json!({ "name": "k", "expires_at": "2040-01-01T00:00:00Z" })).await;
    let new = server.rotate(id(&key), &alice, json!({ "grace_seconds": 3600 })).await.body;
    let shown = server.get(&format!("{KEYS}{}", id(&key)), &alice).await.body;
    let old = introspect(&server, &gateway, secret(&key)).await.body;
    assert_eq!(old["exp"], seconds(&shown["secrets"][1]["expires_at"]), "{old}");
    let new = introspect(&server, &gateway, secret(&new)).await.body;
    assert_eq!(new["exp"], seconds(&key["expires_at"]), "{new}");
}

#[tokio::test]
async fn introspect_unusable_token_is_only_inactive() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let alice = server.token("alice");
    let mut keys = Vec::new();
    for name in ["revoked", "disabled", "deleted", "rotated", "expired"] {
        let lifetime = if name == "expired" { 1 } else { 3600 };
        let key = server.create_key_from(&alice, json!({ "name": name, "expires_in_seconds": lifetime })).await;
        assert_eq!(introspect(&server, &gateway, secret(&key)).await.body["active"], true, "{name}");
        keys.push(key);
    }
    assert_eq!(server.revoke(id(&keys[0]), &alice, Value::Null).await.status, 200);
    assert_eq!(server.patch(id(&keys[1]), &alice, json!({ "enabled": false })).await.status, 200);
    assert_eq!(server.delete(id(&keys[2]), &alice).await.status, 204);
    assert_eq!(server.rotate(id(&keys[3]), &alice, Value::Null).await.status, 201);
    for key in &keys[..4] {
        assert_inactive(&server, &gateway, secret(key)).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
    assert_inactive(&server, &gateway, secret(&keys[4])).await;
    assert_eq!(server.patch(id(&keys[1]), &alice, json!({ "enabled": true })).await.status, 200);
    assert_eq!(introspect(&server, &gateway, secret(&keys[1])).await.body["active"], true, "enabled again");

    // Tokens of the issuer too: this service introspects only its own keys.
    let unknown = "mk_00000000000000000000000000000000000000000004NvClr";
    for token in [&*alice, &gateway, unknown, "garbage", "%FF", "a+b", &"x".repeat(60_000)] {
        assert_inactive(&server, &gateway, token).await;
    }
}

#[tokio::test]
async fn introspect_ignores_hint_and_unknown_fields() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let key = server.create_key(&server.token("alice"), &[]).await;
    let plain = introspect(&server, &gateway, secret(&key)).await;
    for form in [
        format!("token={}&token_type_hint=access_token", secret(&key)),
        format!("token_type_hint=refresh_token&token={}", secret(&key)),
        format!("token_type_hint=&token={}", secret(&key)),
        format!("token={}&resource=https%3A%2F%2Fexample.com&=&x", secret(&key)),
        format!("token={}", secret(&key).replace("mk_", "%6Dk%5F")),
        format!("to%6ben={}", secret(&key)),
    ] {
        let response = send(&server, &gateway, FORM, form.clone()).await;
        assert_eq!((response.status, &response.text), (plain.status, &plain.text), "{form}");
    }
    // The charset that Apache HttpClient 4 adds by default is the second.
    for charset in ["UTF-8", "ISO-8859-1"] {
        let media_type = format!("Application/X-WWW-Form-Urlencoded; charset={charset}");
        let response = send(&server, &gateway, &media_type, format!("token={}", secret(&key))).await;
        assert_eq!(response.text, plain.text);
    }
}

#[tokio::test]
async fn introspect_for_signed_responses_alone_is_406() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let key = server.create_key(&server.token("alice"), &[]).await;
    let signed = "application/token-introspection+jwt";
    for (accept, status) in [
        (signed.to_owned(), 406),
        (format!("{signed}, application/json;q=0"), 406),
        (format!("{signed}, application/json;q=0.5"), 200),
        (format!("{signed}, */*;q=0.1"), 200),
        ("application/json".to_owned(), 200),
        ("text/html".to_owned(), 200),
    ] {
        let request = form(&server, PATH, &gateway, format!("token={}", secret(&key))).header("accept", &accept);
        let response = Response::to(request).await;
        assert_eq!(response.status.as_u16(), status, "{accept}: {}", response.text);
        assert_eq!(response.body["active"], status == 200, "{accept}");
    }
}

/// A client that does not look at the status reads `active` alone.
#[tokio::test]
async fn introspect_error_says_that_the_token_is_not_active() {
    let server = Server::start_with(&["--request-timeout", "300ms"]);
    let gateway = server.token_with("gateway", GATEWAY);
    let key = server.create_key(&server.token("alice"), &[]).await;
    let body = format!("token={}", secret(&key));
    let large = format!("token={}", "x".repeat(65 * 1024));
    let request = |credential: &str, body: &str| form(&server, PATH, credential, body.to_owned());
    for (status, error, request) in [
        (400, "invalid_request", request(&gateway, "")),
        (400, "invalid_request", form(&server, &format!("{PATH}?x=1"), &gateway, body.clone())),
        (401, "invalid_client", request("", &body)),
        (401, "invalid_client", request("garbage", &body)),
        (403, "insufficient_scope", request(secret(&key), &body)),
        (413, "invalid_request", request(&gateway, &large)),
        (415, "invalid_request", server.request(Method::POST, PATH, &gateway).json(&json!({ "token": "x" }))),
    ] {
        let response = Response::to(request).await;
        assert_oauth_error(&response, status, error);
        assert_eq!(response.body["active"], false, "{}", response.text);
        assert_eq!(challenges(&response).len(), if status == 401 { 2 } else { usize::from(status == 403) });
    }
    let slow = format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway}\r\nContent-Type: {FORM}\r\n\
         Content-Length: 9\r\n\r\nt"
    );
    let reply = crate::wire::exchange(&server, slow.as_bytes());
    assert_eq!((reply.status, &reply.body["active"]), (408, &json!(false)), "{}", reply.head);
}

#[tokio::test]
async fn introspect_without_exactly_one_token_is_rejected() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let key = server.create_key(&server.token("alice"), &[]).await;
    let k = secret(&key);
    for form in [
        String::new(),
        "token_type_hint=access_token".to_owned(),
        "token=".to_owned(),
        format!("token={k}&token_type_hint=a&token_type_hint=a"),
        format!("Token={k}"),
        format!("token[]={k}"),
        format!("token={k}&token={k}"),
        format!("token={k}&t%6Fken="),
        json!({ "token": k }).to_string(),
    ] {
        let response = send(&server, &gateway, FORM, form.clone()).await;
        response.assert_problem(400);
        assert!(!response.text.contains(k), "{form}: {}", response.text);
    }
    // In the query, where logs would show it, a token is rejected.
    let query = server.request(Method::POST, &format!("{PATH}?token={k}"), &gateway).header("content-type", FORM);
    Response::to(query.body(format!("token={k}"))).await.assert_problem(400);
}

#[tokio::test]
async fn introspect_with_other_media_type_is_415() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let key = server.create_key(&server.token("alice"), &[]).await;
    for media_type in ["application/json", "multipart/form-data; boundary=x", "text/plain", "x-www-form-urlencoded"] {
        for body in [json!({ "token": secret(&key) }).to_string(), format!("token={}", secret(&key))] {
            let response = send(&server, &gateway, media_type, body).await;
            assert!(response.assert_problem(415).contains(FORM), "{}", response.text);
        }
    }
    let request = server.request(Method::POST, PATH, &gateway);
    Response::to(request.body(format!("token={}", secret(&key)))).await.assert_problem(415);
    send(&server, &gateway, FORM, format!("token={}", "x".repeat(65 * 1024))).await.assert_problem(413);
}

#[tokio::test]
async fn introspect_requires_verify_scope() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let caller = server.create_key_from(&gateway, json!({ "name": "gateway", "scopes": ["api-keys:verify"] })).await;
    let alice = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write api-keys:admin"]);
    let key = server.create_key(&alice, &["api-keys:read", "api-keys:admin"]).await;
    assert_eq!(introspect(&server, secret(&caller), secret(&key)).await.body["active"], true);
    for credential in [&*alice, secret(&key)] {
        for form in [format!("token={}", secret(&key)), "nonsense".to_owned()] {
            let response = send(&server, credential, FORM, form).await;
            assert!(response.assert_problem(403).contains("api-keys:verify"));
            let challenge = r#"Bearer error="insufficient_scope", scope="api-keys:verify""#;
            assert_eq!(response.header("www-authenticate"), Some(challenge));
        }
    }
    let anonymous = introspect(&server, "", secret(&key)).await;
    anonymous.assert_unauthenticated();
    let garbled = introspect(&server, "garbage", secret(&key)).await;
    garbled.assert_invalid_token();
}

#[tokio::test]
async fn introspect_with_other_method_is_405() {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let response = server.call(method, PATH, &gateway, Value::Null).await;
        response.assert_problem(405);
        assert_eq!(response.header("allow"), Some("POST"));
    }
}
