//! Credentials: missing, malformed, expired and forged ones, and the challenge in the response.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server};
use crate::tokens::{self, Forge, claims, header};
use crate::wire;

const NO_CREDENTIAL: &str = "Bearer";
const INVALID_TOKEN: &str = r#"Bearer error="invalid_token""#;

async fn with_authorization(server: &Server, value: &[u8]) -> Response {
    let request = server.request(Method::POST, KEYS, "").json(&json!({ "name": "x" }));
    Response::to(request.header("authorization", reqwest::header::HeaderValue::from_bytes(value).unwrap())).await
}

fn assert_challenged(response: &Response, challenge: &str, what: &str) {
    assert_eq!(response.status, 401, "{what}: {}", response.text);
    response.assert_problem(401);
    assert_eq!(response.header("www-authenticate"), Some(challenge), "{what}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

async fn assert_invalid_tokens(server: &Server, tokens: &[(&str, String)]) {
    for (what, token) in tokens {
        let response = server.create(token, json!({ "name": "x" })).await;
        assert_challenged(&response, INVALID_TOKEN, what);
        assert!(token.len() < 8 || !response.text.contains(token), "{what}");
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn credential_missing_is_challenged_without_error() {
    let server = Server::start();
    assert_challenged(&server.create("", json!({ "name": "x" })).await, NO_CREDENTIAL, "no header");
    for value in ["Basic YWxpY2U6c2VjcmV0", "Digest username=\"alice\"", "Bearer", "Bearer ", "", "Negotiate abc"] {
        assert_challenged(&with_authorization(&server, value.as_bytes()).await, NO_CREDENTIAL, value);
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn credential_outside_authorization_header_is_ignored() {
    let server = Server::start();
    let token = server.token("alice");
    let bare = || server.request(Method::POST, KEYS, "").json(&json!({ "name": "x" }));
    assert_challenged(&Response::to(bare().header("x-api-key", &token)).await, NO_CREDENTIAL, "X-API-Key");
    assert_challenged(&Response::to(bare().header("cookie", format!("token={token}"))).await, NO_CREDENTIAL, "cookie");
    assert_challenged(
        &Response::to(bare().header("proxy-authorization", format!("Bearer {token}"))).await,
        NO_CREDENTIAL,
        "proxy",
    );
    let in_query = server.request(Method::POST, &format!("{KEYS}?access_token={token}"), "");
    let response = Response::to(in_query.json(&json!({ "name": "x" }))).await;
    assert!(!response.text.contains(&token));
    response.assert_problem(400);
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn credential_malformed_is_invalid_token() {
    let server = Server::start();
    let token = server.token("alice");
    for value in ["Bearer x", "Bearer .", "Bearer ..", "Bearer a.b.c", "Bearer ....", "Bearer mk_", "Bearer a, b"] {
        assert_challenged(&with_authorization(&server, value.as_bytes()).await, INVALID_TOKEN, value);
    }
    assert_challenged(&with_authorization(&server, b"Bearer \xe9\xff").await, INVALID_TOKEN, "bytes beyond ASCII");
    for value in [format!("Bearer Bearer {token}"), format!("Bearer \"{token}\""), format!("Bearer {token} {token}")] {
        assert_challenged(&with_authorization(&server, value.as_bytes()).await, INVALID_TOKEN, &value);
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn credential_scheme_is_case_insensitive() {
    let server = Server::start();
    let token = server.token("alice");
    for scheme in ["bearer", "BEARER", "bEaReR", "Bearer "] {
        let response = with_authorization(&server, format!("{scheme} {token}").as_bytes()).await;
        assert_eq!(response.status, 201, "{scheme}");
    }
}

#[tokio::test]
async fn credential_given_twice_is_rejected() {
    let server = Server::start();
    let token = server.token("alice");
    for second in [format!("Bearer {token}"), "Bearer garbled".to_owned(), "Basic YTpi".to_owned(), String::new()] {
        let head = format!("{}Authorization: {second}\r\nContent-Length: 12\r\n\r\n", wire::head(&token));
        let reply = wire::exchange(&server, format!("{head}{{\"name\":\"x\"}}").as_bytes());
        assert_eq!(reply.status, 400, "{second}: {}", reply.head);
        assert!(reply.head.contains("content-type: application/problem+json"));
        assert!(reply.body["detail"].as_str().unwrap().contains("Authorization"));
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn token_with_invalid_signature_is_rejected() {
    let server = Server::start();
    let token = server.token("alice");
    let parts: Vec<_> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{token}") };
    let others = tokens::unsigned(&tokens::header(), &claims(|claims| claims["sub"] = json!("bob")));
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let elsewhere = Server::start();
    assert_invalid_tokens(
        &server,
        &[
            ("another payload", format!("{others}.{signature}")),
            ("another signature", format!("{header}.{payload}.{flipped}{}", &signature[1..])),
            ("no signature", format!("{header}.{payload}.")),
            ("two parts", format!("{header}.{payload}")),
            ("four parts", format!("{token}.{signature}")),
            ("signature cut short", token[..token.len() - 4].to_owned()),
            ("half a token", token[..token.len() / 2].to_owned()),
            ("padded", format!("{token}==")),
            ("of another data directory", elsewhere.token("alice")),
        ],
    )
    .await;
}

#[tokio::test]
async fn token_with_other_algorithm_is_rejected() {
    let server = Server::start();
    let _token = server.token("alice");
    let forge = Forge::of(&server);
    let good = claims(|_| ());
    let none = |alg: &str| format!("{}.", tokens::unsigned(&json!({ "typ": "at+jwt", "alg": alg }), &good));
    let pem = pem::encode(&pem::Pem::new("PUBLIC KEY", forge.public()));
    assert_invalid_tokens(
        &server,
        &[
            ("none", none("none")),
            ("None", none("None")),
            ("no algorithm", format!("{}.", tokens::unsigned(&json!({ "typ": "at+jwt" }), &good))),
            ("HMAC of a guess", tokens::hs256(&good, b"secret")),
            ("HMAC of nothing", tokens::hs256(&good, b"")),
            ("HMAC of the public key", tokens::hs256(&good, forge.public())),
            ("HMAC of the public key in PEM", tokens::hs256(&good, pem.as_bytes())),
            ("a name of another algorithm", forge.sign(&json!({ "typ": "at+jwt", "alg": "ES256" }), &good)),
            ("a key of its own", forge_with_own_key(&good)),
        ],
    )
    .await;
}

/// A token signed with a key that is embedded in its header.
fn forge_with_own_key(claims: &Value) -> String {
    let elsewhere = Server::start();
    let _token = elsewhere.token("alice");
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    Forge::of(&elsewhere).sign(&json!({ "typ": "at+jwt", "alg": "EdDSA", "jwk": jwk }), claims)
}

#[tokio::test]
async fn token_for_other_use_or_audience_is_rejected() {
    let server = Server::start();
    let _token = server.token("alice");
    let forge = Forge::of(&server);
    let typ = |typ: &str| forge.sign(&json!({ "typ": typ, "alg": "EdDSA" }), &claims(|_| ()));
    let claim = |name: &str, value: Value| forge.sign(&header(), &claims(|claims| claims[name] = value));
    let without =
        |name: &str| forge.sign(&header(), &claims(|claims| drop(claims.as_object_mut().unwrap().remove(name))));
    assert_invalid_tokens(
        &server,
        &[
            ("typ JWT", typ("JWT")),
            ("typ id+jwt", typ("id+jwt")),
            ("no typ", forge.sign(&json!({ "alg": "EdDSA" }), &claims(|_| ()))),
            ("another issuer", claim("iss", json!("https://issuer.example"))),
            ("no issuer", without("iss")),
            ("another audience", claim("aud", json!("billing"))),
            ("other audiences", claim("aud", json!(["billing", "shop"]))),
            ("no audience", without("aud")),
            ("no subject", without("sub")),
            ("an empty subject", claim("sub", json!(""))),
            ("a subject that is a number", claim("sub", json!(5))),
            ("a subject of 256 characters", claim("sub", json!("x".repeat(256)))),
            ("a subject with a line break", claim("sub", json!("alice\nbob"))),
            ("scopes that are neither a string nor a list of them", claim("scope", json!([1]))),
            ("claims that are no object", forge.sign(&header(), &json!(["alice"]))),
        ],
    )
    .await;
    for valid in [
        typ("AT+JWT"),
        typ("application/at+jwt"),
        claim("aud", json!(["billing", "mintkey"])),
        claim("sub", json!("x".repeat(255))),
        without("scope"),
    ] {
        assert_eq!(server.create(&valid, json!({ "name": "x" })).await.status, 201);
    }
}

/// RFC 7515, section 4.1.11: a token with an extension in `crit` that is not understood is invalid.
#[tokio::test]
async fn token_with_unknown_critical_extension_is_rejected() {
    let server = Server::start();
    let _token = server.token("alice");
    let critical = json!({ "typ": "at+jwt", "alg": "EdDSA", "crit": ["x"], "x": 1 });
    assert_invalid_tokens(&server, &[("crit", Forge::of(&server).sign(&critical, &claims(|_| ())))]).await;
}

#[tokio::test]
async fn token_outside_its_validity_is_rejected() {
    let server = Server::start();
    let _token = server.token("alice");
    let forge = Forge::of(&server);
    let claim = |name: &str, value: Value| forge.sign(&header(), &claims(|claims| claims[name] = value));
    let eternal = forge.sign(&header(), &claims(|claims| drop(claims.as_object_mut().unwrap().remove("exp"))));
    assert_invalid_tokens(
        &server,
        &[
            ("expired", claim("exp", json!(tokens::now() - 1))),
            ("expired long ago", claim("exp", json!(1))),
            ("expired before time began", claim("exp", json!(-1))),
            ("no expiry", eternal),
            ("an expiry that is a string", claim("exp", json!((tokens::now() + 60).to_string()))),
            ("an expiry that is null", claim("exp", Value::Null)),
            ("not valid yet", claim("nbf", json!(tokens::now() + 600))),
            ("a start that is a string", claim("nbf", json!("0"))),
        ],
    )
    .await;
    assert_eq!(server.create(&claim("nbf", json!(tokens::now() - 1)), json!({ "name": "x" })).await.status, 201);
}

#[tokio::test]
async fn token_of_one_second_stops_working() {
    let server = Server::start();
    let token = server.token_with("alice", &["--ttl", "1s"]);
    let mut refused = None;
    for _ in 0..100 {
        let response = server.create(&token, json!({ "name": "x" })).await;
        if response.status != 201 {
            refused = Some(response);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_challenged(&refused.expect("a token of one second still works"), INVALID_TOKEN, "expired");
}

#[tokio::test]
async fn credential_over_16_kib_is_rejected() {
    let server = Server::start();
    let token = server.token("alice");
    assert_invalid_tokens(&server, &[("17 KiB", format!("{token}{}", "A".repeat(17 * 1024)))]).await;
    // The head is too long then.
    assert_eq!(with_authorization(&server, &[b"Bearer ", &[b'A'; 33 * 1024][..]].concat()).await.status, 431);
    assert_eq!(server.create(&token, json!({ "name": "x" })).await.status, 201);
}
