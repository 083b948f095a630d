//! Cases: a request for each operation.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::support::{KEYS, Server};

/// A request for an operation, on the key with the given id if the operation takes one.
pub struct Case {
    pub operation: &'static str,
    pub request: fn(&Server, &str, &str) -> RequestBuilder,
}

const fn case(operation: &'static str, request: fn(&Server, &str, &str) -> RequestBuilder) -> Case {
    Case { operation, request }
}

fn own_keys(server: &Server, method: Method, credential: &str, tail: &str) -> RequestBuilder {
    server.request(method, &format!("{KEYS}{tail}"), credential)
}

fn admin(server: &Server, method: Method, credential: &str, tail: &str) -> RequestBuilder {
    server.request(method, &format!("/api/admin/{tail}"), credential)
}

/// A well-formed secret that belongs to no key.
pub const UNKNOWN: &str = "mk_00000000000000000000000000000000000000000004NvClr";

pub const CASES: &[Case] = &[
    case("create_my_api_key", |server, credential, _| {
        own_keys(server, Method::POST, credential, "").json(&json!({ "name": "x" }))
    }),
    case("list_my_api_keys", |server, credential, id| {
        own_keys(server, Method::GET, credential, &format!("?created_by_key={id}"))
    }),
    case("get_my_api_key", |server, credential, id| own_keys(server, Method::GET, credential, id)),
    case("get_my_api_key", |server, credential, id| {
        own_keys(server, Method::GET, credential, id).header("if-match", "\"1\"")
    }),
    case("get_my_api_key", |server, credential, id| {
        own_keys(server, Method::GET, credential, id).header("if-match", "\"x\"")
    }),
    case("update_my_api_key", |server, credential, id| {
        own_keys(server, Method::PATCH, credential, id).json(&json!({ "name": "stolen" }))
    }),
    case("update_my_api_key", |server, credential, id| {
        own_keys(server, Method::PATCH, credential, id).json(&json!({}))
    }),
    case("update_my_api_key", |server, credential, id| {
        own_keys(server, Method::PATCH, credential, id).header("if-match", "\"1\"").json(&json!({ "enabled": false }))
    }),
    case("update_my_api_key", |server, credential, id| {
        own_keys(server, Method::PATCH, credential, id).header("if-match", "\"9\"").json(&json!({ "enabled": true }))
    }),
    case("update_my_api_key", |server, credential, id| {
        own_keys(server, Method::PATCH, credential, id).json(&json!({ "scopes": ["api-keys:admin"] }))
    }),
    case("update_my_api_key", |server, credential, id| {
        own_keys(server, Method::PATCH, credential, id).json(&json!({ "expires_at": "2030-01-01T00:00:00Z" }))
    }),
    case("update_my_api_key", |server, credential, id| {
        own_keys(server, Method::PATCH, credential, id).json(&json!({ "name": 5 }))
    }),
    case("revoke_my_api_key", |server, credential, id| {
        own_keys(server, Method::POST, credential, &format!("{id}/revoke")).json(&json!({ "reason": "because" }))
    }),
    case("revoke_my_api_key", |server, credential, id| {
        own_keys(server, Method::POST, credential, &format!("{id}/revoke"))
    }),
    case("revoke_my_api_key", |server, credential, id| {
        own_keys(server, Method::POST, credential, &format!("{id}/revoke")).json(&json!({ "descendants": true }))
    }),
    case("delete_my_api_key", |server, credential, id| {
        own_keys(server, Method::DELETE, credential, &format!("{id}?descendants=true"))
    }),
    case("revoke_my_api_key", |server, credential, id| {
        own_keys(server, Method::POST, credential, &format!("{id}/revoke")).header("if-match", "\"9\"")
    }),
    case("delete_my_api_key", |server, credential, id| own_keys(server, Method::DELETE, credential, id)),
    case("delete_my_api_key", |server, credential, id| {
        own_keys(server, Method::DELETE, credential, id).header("if-match", "W/\"1\"")
    }),
    case("rotate_my_api_key", |server, credential, id| {
        own_keys(server, Method::POST, credential, &format!("{id}/rotate"))
    }),
    case("rotate_my_api_key", |server, credential, id| {
        own_keys(server, Method::POST, credential, &format!("{id}/rotate"))
            .header("idempotency-key", "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11")
            .json(&json!({ "grace_seconds": 60 }))
    }),
    case("rotate_my_api_key", |server, credential, id| {
        own_keys(server, Method::POST, credential, &format!("{id}/rotate")).header("if-match", "\"9\"")
    }),
    case("get_my_api_key_usage", |server, credential, id| {
        own_keys(server, Method::GET, credential, &format!("{id}/usage"))
    }),
    case("get_this_api_key", |server, credential, _| own_keys(server, Method::GET, credential, "self")),
    case("revoke_this_api_key", |server, credential, _| own_keys(server, Method::DELETE, credential, "self")),
    case("verify_api_key", |server, credential, _| {
        own_keys(server, Method::POST, credential, "verify").json(&json!({ "key": UNKNOWN }))
    }),
    case("introspect_token", |server, credential, _| {
        let request = server.request(Method::POST, "/api/oauth/introspect", credential);
        request.header("content-type", "application/x-www-form-urlencoded").body(format!("token={UNKNOWN}"))
    }),
    case("revoke_token", |server, credential, _| {
        let request = server.request(Method::POST, "/api/oauth/revoke", credential);
        request.header("content-type", "application/x-www-form-urlencoded").body("token=unknown")
    }),
    case("check_forwarded_request", |server, credential, _| {
        server.request(Method::GET, "/api/auth/forward", credential)
    }),
    case("list_my_audit_events", |server, credential, id| {
        server.request(Method::GET, &format!("/api/auth/audit-events?key_id={id}"), credential)
    }),
    case("list_my_audit_events", |server, credential, id| {
        server.request(Method::GET, &format!("/api/auth/audit-events?actor_key_id={id}"), credential)
    }),
    case("list_all_audit_events", |server, credential, id| {
        admin(server, Method::GET, credential, &format!("audit-events?key_id={id}"))
    }),
    case("list_api_keys", |server, credential, id| {
        admin(server, Method::GET, credential, &format!("api-keys?created_by_key={id}"))
    }),
    case("list_api_keys", |server, credential, id| {
        admin(server, Method::GET, credential, &format!("api-keys?subject=alice&created_by_key={id}"))
    }),
    case("get_api_key", |server, credential, id| admin(server, Method::GET, credential, &format!("api-keys/{id}"))),
    case("revoke_api_key", |server, credential, id| {
        admin(server, Method::POST, credential, &format!("api-keys/{id}/revoke"))
    }),
    case("revoke_api_keys", |server, credential, _| {
        admin(server, Method::POST, credential, "api-keys/revoke").json(&json!({ "subject": "alice" }))
    }),
    case("list_revocation_jobs", |server, credential, _| admin(server, Method::GET, credential, "revocation-jobs")),
    case("get_revocation_job", |server, credential, id| {
        admin(server, Method::GET, credential, &format!("revocation-jobs/{id}"))
    }),
    case("cancel_revocation_job", |server, credential, id| {
        admin(server, Method::POST, credential, &format!("revocation-jobs/{id}/cancel"))
    }),
];
