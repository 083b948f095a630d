//! Requests that present a canary wherever a client could put one: path, query, headers, body and credentials.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::Responses;
use crate::support::{KEYS, Server, VERIFY};
use crate::wire;

const FORWARD: &str = "/api/auth/forward";
const INTROSPECT: &str = "/api/oauth/introspect";
const REVOKE: &str = "/api/oauth/revoke";

pub fn post(server: &Server, credential: &str) -> RequestBuilder {
    server.request(Method::POST, KEYS, credential).header("content-type", "application/json")
}

/// Presents the canary in the path, the query and the headers of a create.
pub async fn around_the_body(server: &Server, token: &str, canary: &str, responses: &mut Responses) {
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
        responses.expect_error(server.request(Method::POST, &path, token).json(&json!({ "name": "x" }))).await;
        responses.expect_error(server.request(Method::GET, &path, "")).await;
    }
    for header in ["x-request-id", "traceparent", "tracestate", "accept", "cookie", "x-api-key", "user-agent", "host"] {
        responses.expect_error(post(server, "").header(header, canary).body("{}")).await;
        responses.expect_error(post(server, token).header(header, canary).body("{}")).await;
    }
    responses.expect_error(server.request(Method::POST, KEYS, token).header("content-type", canary).body("{}")).await;
    responses.expect_error(post(server, token).header("content-encoding", canary).body("{}")).await;
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
        responses.expect_error(post(server, "").header("authorization", value).body(r#"{"name":"x"}"#)).await;
    }
}

/// Presents the canary in requests that no client library sends.
pub fn on_the_wire(server: &Server, canary: &str, responses: &mut Responses) {
    for request in [
        format!("{}Authorization: Bearer {canary}\r\nContent-Length: 2\r\n\r\n{{}}", wire::head(canary)),
        format!("GET /nothing HTTP/1.1\r\nHost: x\r\n{canary}: 1\r\nConnection: close\r\n\r\n"),
        format!("GET /nothing HTTP/1.1\r\nHost: x\r\n{canary}\r\n\r\n"),
        format!("GET {canary} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        format!("{canary}\r\n\r\n"),
        format!("{}Transfer-Encoding: chunked\r\n\r\n{canary}\r\n", wire::head("x")),
    ] {
        responses.expect_raw_error(server, &request);
    }
}

/// Presents the canary in the body of a create.
pub async fn in_the_body(server: &Server, token: &str, canary: &str, responses: &mut Responses) {
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
        responses.expect_error(post(server, token).body(body.clone())).await;
        responses.expect_error(post(server, "").body(body.clone())).await;
        responses
            .expect_error(server.request(Method::POST, KEYS, token).header("content-type", "text/plain").body(body))
            .await;
    }
}

fn verify(server: &Server, credential: &str) -> RequestBuilder {
    server.request(Method::POST, VERIFY, credential).header("content-type", "application/json")
}

/// Presents the canary to verify: as the key, in every other part of the request, and as the caller's credential.
pub async fn to_verify(server: &Server, gateway: &str, canary: &str, responses: &mut Responses) {
    for body in
        [json!({ "key": canary }), json!({ "key": canary, "scopes": ["x"] }), json!({ "key": format!("{canary}x") })]
    {
        let response = responses.record(verify(server, gateway).body(body.to_string())).await;
        assert_eq!(response.status, 200, "{}", response.text);
    }
    for body in [
        canary.to_owned(),
        format!("\"{canary}\""),
        format!("[\"{canary}\"]"),
        format!("{{\"key\":{canary}}}"),
        format!("{{\"key\":\"{canary}\""),
        format!("{{\"key\":\"{canary}\"}}{canary}"),
        format!("{{\"key\":[\"{canary}\"]}}"),
        format!("{{\"{canary}\":\"{canary}\"}}"),
        format!("{{\"key\":\"{canary}\",\"{canary}\":1}}"),
        format!("{{\"key\":\"{canary}\",\"key\":\"{canary}\"}}"),
        format!("{{\"key\":\"{canary}\",\"scopes\":\"{canary}\"}}"),
        format!("{{\"key\":\"{canary}\",\"scopes\":[\"{canary} \"]}}"),
        format!("{{\"key\":\"{canary}\",\"metadata\":\"{}\"}}", "x".repeat(70_000)),
        format!("key={canary}"),
    ] {
        responses.expect_error(verify(server, gateway).body(body.clone())).await;
        responses.expect_error(verify(server, "").body(body.clone())).await;
        let plain = server.request(Method::POST, VERIFY, gateway).header("content-type", "text/plain");
        responses.expect_error(plain.body(body)).await;
    }
    for path in [format!("{VERIFY}/{canary}"), format!("{VERIFY}?key={canary}"), format!("{VERIFY}?{canary}")] {
        responses.expect_error(server.request(Method::POST, &path, gateway).json(&json!({ "key": canary }))).await;
        responses.expect_error(server.request(Method::GET, &path, gateway)).await;
    }
    for header in ["x-request-id", "traceparent", "accept", "cookie", "x-api-key", "user-agent"] {
        let request = verify(server, gateway).header(header, canary).body(json!({ "key": canary }).to_string());
        responses.record(request).await;
    }
    responses.expect_error(verify(server, canary).body(json!({ "key": canary }).to_string())).await;
}

/// Presents the canary to forward auth: as each kind of credential, and in what the proxy passes on from its client.
pub async fn to_forward_auth(server: &Server, canary: &str, responses: &mut Responses) {
    for path in [
        FORWARD.to_owned(),
        format!("{FORWARD}/{canary}"),
        format!("{FORWARD}?{canary}"),
        format!("{FORWARD}/x?key={canary}&{canary}=1"),
        format!("{FORWARD}?required_scope=x"),
        format!("{FORWARD}?required_scope={canary}"),
        format!("{FORWARD}?required_scope=x&required_scope={canary}"),
    ] {
        for method in [Method::GET, Method::POST] {
            let request = || server.request(method.clone(), &path, "").body(canary.to_owned());
            responses.record(request().bearer_auth(canary)).await;
            responses.record(request().header("x-api-key", canary)).await;
            responses.expect_error(request()).await;
            responses.expect_error(request().bearer_auth(canary).header("x-api-key", canary)).await;
        }
    }
    for authorization in
        [format!("Basic {canary}"), canary.to_owned(), format!("Bearer {canary} {canary}"), format!("{canary} x")]
    {
        responses.expect_error(server.request(Method::GET, FORWARD, "").header("authorization", authorization)).await;
    }
    for header in ["x-forwarded-uri", "x-forwarded-host", "x-original-url", "cookie", "referer", "x-auth-subject"] {
        responses.record(server.request(Method::GET, FORWARD, canary).header(header, canary)).await;
    }
}

/// Presents the canary to introspection: as the token, in every other part of the request, and as the caller's credential.
pub async fn to_introspection(server: &Server, gateway: &str, canary: &str, responses: &mut Responses) {
    let introspect = |credential: &str, media_type: &str| {
        server.request(Method::POST, INTROSPECT, credential).header("content-type", media_type)
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    for form in [
        format!("token={canary}"),
        format!("token={canary}x"),
        format!("token={canary}&token_type_hint={canary}"),
        format!("token={canary}&{canary}={canary}"),
    ] {
        let response = responses.record(introspect(gateway, FORM).body(form)).await;
        assert_eq!(response.status, 200, "{}", response.text);
    }
    for form in
        [canary.to_owned(), format!("{canary}=1"), format!("token={canary}&token={canary}"), format!("Token={canary}")]
    {
        responses.expect_error(introspect(gateway, FORM).body(form.clone())).await;
        responses.expect_error(introspect("", FORM).body(form.clone())).await;
        responses.expect_error(introspect(gateway, "application/json").body(form)).await;
    }
    responses.expect_error(introspect(canary, FORM).body(format!("token={canary}"))).await;
    for path in [INTROSPECT, REVOKE] {
        let oauth = || server.request(Method::POST, path, "").header("content-type", FORM);
        for authorization in basic_with(canary) {
            responses.expect_error(oauth().header("authorization", authorization).body("token=a&token=b")).await;
        }
        for form in [
            format!("token=x&client_secret={canary}x"),
            format!("token=x&client_secret={canary}&client_secret={canary}"),
            format!("token=x&token={canary}&client_id={canary}&client_secret={canary}"),
            format!("token=&client_id={canary}&client_secret={canary}x"),
        ] {
            responses.expect_error(oauth().body(form.clone())).await;
            responses.expect_error(oauth().bearer_auth(gateway).body(form.clone())).await;
            let twice = oauth().header("authorization", basic_with(gateway).swap_remove(0));
            responses.expect_error(twice.body(form)).await;
        }
    }
    let query = server.request(Method::POST, &format!("{INTROSPECT}?token={canary}"), gateway);
    responses.expect_error(query.header("content-type", FORM).body(format!("token={canary}"))).await;
    responses.expect_error(server.request(Method::GET, &format!("{INTROSPECT}/{canary}"), gateway)).await;
}

/// `Authorization` headers whose Basic credentials hold the canary.
pub fn basic_with(canary: &str) -> Vec<String> {
    let encoded = |text: String| format!("Basic {}", STANDARD.encode(text));
    vec![
        encoded(format!("gateway:{canary}")),
        encoded(format!("{canary}:")),
        encoded(format!("{canary}:{canary}x")),
        encoded(format!("gateway:{}", canary.replace('_', "%5F"))),
        encoded(canary.to_owned()),
        format!("Basic {canary}"),
    ]
}

/// Presents the canary for revocation, which ends it, and then again.
pub async fn to_revocation(server: &Server, canary: &str, responses: &mut Responses) {
    for form in [format!("token={canary}"), format!("token={canary}&token_type_hint={canary}&client_id={canary}")] {
        for credential in ["", canary] {
            let request = server.request(Method::POST, REVOKE, credential);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            responses.record(request.body(form.clone())).await;
        }
    }
}

/// Presents the canary as a credential that fails at each stage of a create.
pub async fn as_credential(server: &Server, canary: &str, responses: &mut Responses) {
    responses.expect_error(post(server, canary).body("{")).await;
    responses.expect_error(post(server, canary).body("{}")).await;
    responses.expect_error(post(server, canary).body(r#"{"name":"x","scopes":["api-keys:admin"]}"#)).await;
    responses.expect_error(server.request(Method::DELETE, KEYS, canary)).await;
}

/// Presents the canary in every way while the database is unavailable.
pub async fn during_outage(server: &Server, gateway: &str, canary: &str, responses: &mut Responses) {
    responses.expect_error(post(server, canary).body(r#"{"name":"x"}"#)).await;
    responses.record(verify(server, gateway).body(json!({ "key": canary }).to_string())).await;
    responses.record(server.request(Method::GET, FORWARD, canary)).await;
    let form =
        server.request(Method::POST, INTROSPECT, gateway).header("content-type", "application/x-www-form-urlencoded");
    responses.record(form.body(format!("token={canary}"))).await;
    let revoke = server.request(Method::POST, REVOKE, "").header("content-type", "application/x-www-form-urlencoded");
    responses.record(revoke.body(format!("token={canary}x&client_secret={canary}"))).await;
}
