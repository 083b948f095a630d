//! Forward auth: a proxy checks the credentials of its client's request, and receives the owner in headers.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id, secret};
use crate::wire::exchange;

const FORWARD: &str = "/api/auth/forward";
const IDENTITY: [&str; 5] = ["x-auth-key-id", "x-auth-subject", "x-auth-issuer", "x-auth-org", "x-auth-scopes"];

/// The identity headers in the order of [`IDENTITY`]. Checks that each is present once.
fn identity(response: &Response) -> [&str; 5] {
    IDENTITY.map(|name| {
        let mut values = response.headers.get_all(name).iter();
        let value = values.next().unwrap_or_else(|| panic!("no {name}: {:?}", response.headers));
        assert!(values.next().is_none(), "{name} twice");
        value.to_str().unwrap()
    })
}

fn assert_allowed(response: &Response, key: &Value) {
    assert_eq!((response.status.as_u16(), &*response.text), (200, ""));
    assert_eq!(identity(response)[0], id(key));
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

fn assert_unauthorized(response: &Response, challenge: &str) {
    response.assert_problem(401);
    assert_eq!(response.header("www-authenticate"), Some(challenge));
    assert!(IDENTITY.iter().all(|name| response.header(name).is_none()), "{:?}", response.headers);
}

const NO_CREDENTIAL: &str = "Bearer";
const INVALID_TOKEN: &str = r#"Bearer error="invalid_token""#;

fn forward_request(server: &Server, path: &str) -> RequestBuilder {
    server.request(Method::GET, path, "")
}

#[tokio::test]
async fn forward_auth_allows_valid_key_with_identity_headers() {
    let server = Server::start();
    let alice = server.token_with("alice", &["--organization", "acme"]);
    let key = server.create_key(&alice, &["projects:read", "files:*"]).await;
    let before = server.dump().await;
    for request in [
        forward_request(&server, FORWARD).bearer_auth(secret(&key)),
        forward_request(&server, FORWARD).header("authorization", format!("bearer   {}  ", secret(&key))),
        forward_request(&server, FORWARD).header("x-api-key", secret(&key)),
    ] {
        let response = Response::to(request).await;
        assert_allowed(&response, &key);
        let expected = [id(&key), "alice", "urn:mintkey:standalone", "acme", "projects:read files:*"];
        assert_eq!(identity(&response), expected);
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn forward_auth_sends_absent_identity_as_empty_headers() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    // Identity headers that the client sends have no effect.
    let claimed =
        IDENTITY.iter().fold(forward_request(&server, FORWARD), |request, name| request.header(*name, "mallory"));
    let response = Response::to(claimed.bearer_auth(secret(&key))).await;
    assert_allowed(&response, &key);
    assert_eq!(identity(&response)[1..], ["alice", "urn:mintkey:standalone", "", ""]);
}

#[tokio::test]
async fn forward_auth_percent_encodes_non_ascii_identity() {
    let server = Server::start();
    for (subject, shown) in [
        ("zoë", "zo%C3%AB"),
        ("a b", "a%20b"),
        ("100%", "100%25"),
        ("%C3%AB", "%25C3%25AB"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
        ("a\"b,c;d=e", "a\"b,c;d=e"),
    ] {
        let token = server.token_with(subject, &["--organization", subject]);
        let key = server.create_key(&token, &[]).await;
        let response = Response::to(forward_request(&server, FORWARD).bearer_auth(secret(&key))).await;
        assert_allowed(&response, &key);
        assert_eq!(identity(&response)[1..4], [shown, "urn:mintkey:standalone", shown]);
    }
}

#[tokio::test]
async fn forward_auth_without_credential_is_challenged() {
    let server = Server::start();
    assert_unauthorized(&Response::to(forward_request(&server, FORWARD)).await, NO_CREDENTIAL);
    let others = forward_request(&server, FORWARD).header("x-apikey", "x").header("cookie", "key=x");
    assert_unauthorized(&Response::to(others).await, NO_CREDENTIAL);
}

#[tokio::test]
async fn forward_auth_with_invalid_credential_is_unauthorized() {
    let server = Server::start();
    let alice = server.token_with("alice", &["--scopes", "api-keys:verify"]);
    let key = server.create_key(&alice, &[]).await;
    let good = secret(&key);
    let unknown = "mk_00000000000000000000000000000000000000000004NvClr";
    // A user's token is not a key.
    for bad in ["garbage", unknown, &good[..51], &good[1..], &alice, "a.b.c", &format!("{good} {good}")] {
        assert_unauthorized(&Response::to(forward_request(&server, FORWARD).bearer_auth(bad)).await, INVALID_TOKEN);
        assert_unauthorized(
            &Response::to(forward_request(&server, FORWARD).header("x-api-key", bad)).await,
            INVALID_TOKEN,
        );
    }
    for bad in ["Bearer", "Bearer ", good, "Basic YTpi", &format!("Basic {good}"), &format!("Bearer\t{good}")] {
        assert_unauthorized(
            &Response::to(forward_request(&server, FORWARD).header("authorization", bad)).await,
            INVALID_TOKEN,
        );
    }
    assert_unauthorized(&Response::to(forward_request(&server, FORWARD).header("x-api-key", "")).await, INVALID_TOKEN);
    let latin1 = reqwest::header::HeaderValue::from_bytes(b"Bearer \xeb").unwrap();
    assert_unauthorized(
        &Response::to(forward_request(&server, FORWARD).header("authorization", latin1)).await,
        INVALID_TOKEN,
    );
    assert_allowed(&Response::to(forward_request(&server, FORWARD).bearer_auth(good)).await, &key);
}

#[tokio::test]
async fn forward_auth_with_two_credentials_is_unauthorized() {
    let server = Server::start();
    let alice = server.token("alice");
    let (key, other) =
        (server.create_key(&alice, &[]).await, server.create_key_from(&alice, json!({ "name": "l" })).await);
    for second in [secret(&key), secret(&other), "", "garbage"] {
        let first = || forward_request(&server, FORWARD).bearer_auth(secret(&key));
        assert_unauthorized(&Response::to(first().header("x-api-key", second)).await, INVALID_TOKEN);
        assert_unauthorized(&Response::to(first().bearer_auth(second)).await, INVALID_TOKEN);
        let first = || forward_request(&server, FORWARD).header("x-api-key", secret(&key));
        assert_unauthorized(&Response::to(first().header("x-api-key", second)).await, INVALID_TOKEN);
        assert_unauthorized(
            &Response::to(first().header("authorization", format!("Basic {second}"))).await,
            INVALID_TOKEN,
        );
    }
}

#[tokio::test]
async fn forward_auth_refuses_inactive_key_at_next_request() {
    let server = Server::start();
    let alice = server.token("alice");
    for end in ["revoked", "disabled", "deleted", "rotated"] {
        let key = server.create_key_from(&alice, json!({ "name": end })).await;
        for _ in 0..2 {
            assert_allowed(&Response::to(forward_request(&server, FORWARD).bearer_auth(secret(&key))).await, &key);
        }
        let status = match end {
            "revoked" => server.revoke(id(&key), &alice, Value::Null).await.status,
            "disabled" => server.patch(id(&key), &alice, json!({ "enabled": false })).await.status,
            "deleted" => server.delete(id(&key), &alice).await.status,
            _ => server.rotate(id(&key), &alice, Value::Null).await.status,
        };
        assert!(status.is_success(), "{end}");
        assert_unauthorized(
            &Response::to(forward_request(&server, FORWARD).bearer_auth(secret(&key))).await,
            INVALID_TOKEN,
        );
        assert_unauthorized(
            &Response::to(forward_request(&server, FORWARD).header("x-api-key", secret(&key))).await,
            INVALID_TOKEN,
        );
    }
    let key = server.create_key_from(&alice, json!({ "name": "expires", "expires_in_seconds": 1 })).await;
    assert_allowed(&Response::to(forward_request(&server, FORWARD).bearer_auth(secret(&key))).await, &key);
    tokio::time::sleep(std::time::Duration::from_millis(1050)).await;
    assert_unauthorized(
        &Response::to(forward_request(&server, FORWARD).bearer_auth(secret(&key))).await,
        INVALID_TOKEN,
    );
}

#[tokio::test]
async fn forward_auth_without_required_scope_is_forbidden() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &["a", "b:c", "x"]).await;
    let forward = |required: &str| {
        let path = format!("{FORWARD}?required_scope={required}");
        Response::to(forward_request(&server, &path).bearer_auth(secret(&key)))
    };
    for held in ["a", "a%20x", "b:c+a", "b%3Ac"] {
        assert_allowed(&forward(held).await, &key);
    }
    for (required, missing) in [("d", "d"), ("a%20d", "d"), ("d+a+e", "d e"), ("b", "b"), ("b:*", "b:*")] {
        assert_missing(&forward(required).await, missing);
    }
    for bad in ["a&required_scope=a", "a%22", "a%5C", "a++x", "a%0Ad", "a%FF"] {
        let response = forward(bad).await;
        response.assert_problem(400);
        assert!(IDENTITY.iter().all(|name| response.header(name).is_none()));
    }
    // The key is checked first: without a valid key, the response does not mention scopes.
    let unknown = forward_request(&server, &format!("{FORWARD}?required_scope=d")).bearer_auth("garbage");
    assert_unauthorized(&Response::to(unknown).await, INVALID_TOKEN);
}

#[tokio::test]
async fn forward_auth_reads_percent_encoded_scopes_with_any_character() {
    let server = Server::start();
    let held = ["User.Read", "https://api.example.com/orders", "a+b", "50%", "a&b=c#d", "a", "b", "x,y;z"];
    let key = server.create_key(&server.token("alice"), &held).await;
    let forward =
        |query: &str| Response::to(forward_request(&server, &format!("{FORWARD}?{query}")).bearer_auth(secret(&key)));
    let percent_encoded = |scope: &str| scope.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for parameter in ["required_scope", "any_of"] {
        for scope in held {
            let response = forward(&format!("{parameter}={}", percent_encoded(scope))).await;
            assert_eq!(response.status, 200, "{parameter} {scope}");
            assert_eq!(response.header("x-auth-scopes"), Some(&*held.join(" ")));
        }
        for as_it_is in ["User.Read", "https://api.example.com/orders", "x,y;z"] {
            assert_eq!(forward(&format!("{parameter}={as_it_is}")).await.status, 200, "{parameter} {as_it_is}");
        }
        for other in ["user.read", "USER.READ", "https://api.example.com/Orders", "*"] {
            assert_missing(&forward(&format!("{parameter}={other}")).await, other);
        }
    }
    // In a query, a plus sign is a space.
    assert_eq!(forward("required_scope=a+b").await.status, 200, "the scopes a and b");
    assert_missing(&forward("required_scope=x%2By").await, "x+y");
    assert_missing(&forward("required_scope=x+y").await, "x y");
}

#[tokio::test]
async fn forward_auth_without_any_of_the_alternatives_is_forbidden() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &["a", "b"]).await;
    let forward =
        |query: &str| Response::to(forward_request(&server, &format!("{FORWARD}?{query}")).bearer_auth(secret(&key)));
    for met in ["any_of=a", "any_of=x%20b", "required_scope=a&any_of=b+x", "any_of=a&required_scope=a%20b"] {
        assert_allowed(&forward(met).await, &key);
    }
    for (query, missing) in [
        ("any_of=x", "x"),
        ("any_of=x%20y", "x y"),
        ("required_scope=a&any_of=y+x", "x y"),
        ("required_scope=c&any_of=x", "c x"),
        ("required_scope=x+c&any_of=y+x", "c x y"),
        ("required_scope=c&any_of=a+x", "c"),
    ] {
        assert_missing(&forward(query).await, missing);
    }
    for bad in ["any_of=", "any_of", "any_of=a&any_of=a", "any_of=a%20", "required_scope=a&any_of=%22"] {
        let response = forward(bad).await;
        response.assert_problem(400);
        assert!(response.body["detail"].as_str().unwrap().contains("`any_of`"), "{}", response.text);
        assert!(IDENTITY.iter().all(|name| response.header(name).is_none()));
    }
}

/// Checks that the response denies access and names these scopes.
fn assert_missing(response: &Response, missing: &str) {
    response.assert_problem(403);
    let challenge = format!(r#"Bearer error="insufficient_scope", scope="{missing}""#);
    assert_eq!(response.header("www-authenticate"), Some(&*challenge));
    assert!(IDENTITY.iter().all(|name| response.header(name).is_none()));
}

#[tokio::test]
async fn forward_auth_ignores_method_subpath_and_query() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "PURGE"] {
        for path in ["", "/", "/any/path/", "/a%2Fb/../%00", "//x", "/self", "?q=1&q=2&%ZZ", "/x?limit=0&scope=d"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let path = format!("{FORWARD}{path}");
            let good = server.request(method.clone(), &path, secret(&key));
            assert_allowed(&Response::to(good).await, &key);
            let bad = Response::to(server.request(method.clone(), &path, "garbage")).await;
            assert_eq!(bad.status, 401, "{method} {path}");
            assert_eq!(bad.header("www-authenticate"), Some(INVALID_TOKEN));
            assert_eq!(bad.text.is_empty(), method == Method::HEAD);
        }
    }
    let raw = format!(
        "GET {FORWARD}/a/../../../api-keys HTTP/1.1\r\nHost: m\r\nConnection: close\r\nX-API-Key: {}\r\n\r\n",
        secret(&key)
    );
    let reply = exchange(&server, raw.as_bytes());
    assert!(reply.status == 200 && reply.head.contains(&format!("x-auth-key-id: {}", id(&key))), "{}", reply.head);
    for elsewhere in ["/api/auth/forwarded", "/api/auth/forward%2F", "/api/auth/Forward", "/auth/forward"] {
        Response::to(forward_request(&server, elsewhere).bearer_auth(secret(&key))).await.assert_problem(404);
    }
}

#[tokio::test]
async fn forward_auth_ignores_body() {
    let server = Server::start();
    let key = server.create_key(&server.token("alice"), &[]).await;
    for body in ["not JSON".to_owned(), json!({ "key": "other" }).to_string(), "x".repeat(200_000)] {
        let request = server.request(Method::POST, FORWARD, secret(&key)).header("content-type", "image/png");
        assert_allowed(&Response::to(request.body(body)).await, &key);
    }
    assert_eq!(server.get(KEYS, &server.token("alice")).await.body["items"].as_array().unwrap().len(), 1);
}
