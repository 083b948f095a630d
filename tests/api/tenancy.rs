//! Tenancy: for every operation and every id, another owner's key looks like one that does not exist. A new operation in
//! the OpenAPI document fails here until the table has a case for it.

mod cases;
mod organizations;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mintkey::domain::secret::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use cases::{CASES, Case, UNKNOWN};

use crate::support::{KEYS, Response, Server, id, secret, unknown_key};

struct Documented {
    operation: String,
    method: String,
    path: String,
    takes_an_id: bool,
}

async fn documented_operations(server: &Server) -> Vec<Documented> {
    let document = server.get("/openapi.json", "").await.body;
    let base = document["servers"][0]["url"].as_str().unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array();
            let takes_an_id = parameters.into_iter().flatten().any(|parameter| parameter["schema"]["format"] == "uuid");
            operations.push(Documented {
                operation: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase(),
                path: format!("{base}{path}"),
                takes_an_id,
            });
        }
    }
    operations
}

#[tokio::test]
async fn tenancy_cases_cover_every_operation() {
    let server = Server::start();
    let documented_operations = documented_operations(&server).await;
    let names: BTreeSet<_> = documented_operations.iter().map(|operation| operation.operation.as_str()).collect();
    let tested: BTreeSet<_> = CASES.iter().map(|case| case.operation).collect();
    assert_eq!(names, tested, "the document on the left, the cases of this file on the right");

    let some_id = unknown_key();
    for case in CASES {
        let operation = documented_operations.iter().find(|operation| operation.operation == case.operation).unwrap();
        let request = (case.request)(&server, "", &some_id).build().unwrap();
        assert_eq!(request.method().as_str(), operation.method, "{}", case.operation);
        let path = operation.path.replace("{id}", &some_id);
        assert_eq!(request.url().path().trim_end_matches('/'), path.trim_end_matches('/'), "{}", case.operation);
        assert_eq!(request.url().as_str().contains(&some_id), operation.takes_an_id, "{}", case.operation);
    }
}

#[tokio::test]
async fn tenancy_every_operation_rejects_invalid_credentials() {
    let server = Server::start();
    let alice = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write api-keys:admin"]);
    let body = json!({ "name": "x", "scopes": ["api-keys:read", "api-keys:write", "api-keys:admin"] });
    let key = server.create_key_from(&alice, body.clone()).await;
    let (revoked, disabled) =
        (server.create_key_from(&alice, body.clone()).await, server.create_key_from(&alice, body).await);
    assert_eq!(server.revoke(id(&revoked), &alice, Value::Null).await.status, 200);
    assert_eq!(server.patch(id(&disabled), &alice, json!({ "enabled": false })).await.status, 200);
    assert!(Secret::parse(UNKNOWN).is_ok());
    let forged = format!("{}A.{}", &alice[..alice.rfind('.').unwrap()], &alice[alice.rfind('.').unwrap() + 1..]);
    let cut = &secret(&key)[..51];
    let before = server.dump().await;

    for case in CASES {
        let anonymous = Response::to((case.request)(&server, "", id(&key))).await;
        if case.operation == "revoke_token" {
            assert_eq!(anonymous.status, 200, "the token itself is the proof");
        } else {
            anonymous.assert_problem(401);
            assert_eq!(anonymous.header("www-authenticate"), Some("Bearer"), "{}", case.operation);
        }
        for garbage in ["garbage", UNKNOWN, &forged, "a.b.c", cut, secret(&revoked), secret(&disabled)] {
            let response = Response::to((case.request)(&server, garbage, id(&key))).await;
            response.assert_problem(401);
            let challenge = Some(r#"Bearer error="invalid_token""#);
            assert_eq!(response.header("www-authenticate"), challenge, "{} {garbage}", case.operation);
        }
    }
    assert_eq!(server.dump().await, before);
}

/// A key of alice's in each state.
async fn victims(server: &Server, alice: &str) -> Vec<(&'static str, String)> {
    let mut victims = Vec::new();
    for state in ["active", "in its grace", "revoked", "disabled", "expired", "deleted"] {
        let lifetime = if state == "expired" { 1 } else { 3600 };
        let key = server.create_key_from(alice, json!({ "name": state, "expires_in_seconds": lifetime })).await;
        let changed = match state {
            "in its grace" => server.rotate(id(&key), alice, json!({ "grace_seconds": 3600 })).await.status.as_u16(),
            "revoked" => server.revoke(id(&key), alice, Value::Null).await.status.as_u16(),
            "disabled" => server.patch(id(&key), alice, json!({ "enabled": false })).await.status.as_u16(),
            "deleted" => server.delete(id(&key), alice).await.status.as_u16(),
            _ => 200,
        };
        assert!((200..300).contains(&changed), "{state}: {changed}");
        victims.push((state, id(&key).to_owned()));
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    victims
}

/// Everything by which a client can distinguish two responses to the same request.
fn observable(response: &Response) -> (u16, Vec<(String, String)>, String) {
    let headers = response.headers.iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (response.status.as_u16(), headers, response.text.clone())
}

/// The log lines of a request, without time and duration.
fn log_lines(server: &Server, request_id: &str, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let lines: Vec<_> = server.log().lines().filter(|line| line.contains(request_id)).map(str::to_owned).collect();
        if lines.len() >= count {
            return lines.iter().map(|line| without_times(serde_json::from_str(line).unwrap())).collect();
        }
        assert!(Instant::now() < deadline, "{request_id} is not in the log {count} times");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn without_times(mut line: Value) -> Value {
    line.as_object_mut().unwrap().remove("timestamp");
    if let Some(fields) = line["fields"].as_object_mut() {
        fields.remove("duration_ms");
    }
    line.as_object_mut().unwrap().remove("duration_ms");
    line
}

/// The cases of the operations that take an id, each with whether it is one of administrators.
async fn cases_with_an_id(server: &Server) -> impl Iterator<Item = (&'static Case, bool)> {
    let operations = documented_operations(server).await;
    CASES.iter().filter_map(move |case| {
        let operation = operations.iter().find(|operation| operation.operation == case.operation).unwrap();
        operation.takes_an_id.then(|| (case, operation.path.contains("/admin/")))
    })
}

/// Returns the response for a key of another owner, after checking that neither the client nor a reader of the log can
/// distinguish it from that for an id that never existed.
async fn response_like_unknown_id(
    server: &Server,
    case: &Case,
    credential: &str,
    foreign_id: &str,
    twin: usize,
    context: &str,
) -> Response {
    let request_id = format!("twin-{twin}-");
    let request = |id: &str| (case.request)(server, credential, id).header("x-request-id", &request_id);
    let (foreign, absent) = (Response::to(request(foreign_id)).await, Response::to(request(&unknown_key())).await);
    assert_eq!(observable(&foreign), observable(&absent), "{context}");
    let lines = log_lines(server, &request_id, 2);
    assert!(lines.windows(2).all(|pair| pair[0] == pair[1]), "{context}: {lines:#?}");
    foreign
}

#[tokio::test]
async fn tenancy_other_owners_id_looks_like_unknown_id() {
    let server = Server::start_with(&["--log-format", "json"]);
    let alice = server.token("alice");
    let bob = server.token_with("bob", &["--scopes", "api-keys:read api-keys:write"]);
    let bobs_key =
        server.create_key_from(&bob, json!({ "name": "b", "scopes": ["api-keys:read", "api-keys:write"] })).await;
    let weak_key = server.create_key_from(&bob, json!({ "name": "w" })).await;
    let carol = server.token_with("carol", &["--scopes", "api-keys:admin"]);
    let victims = victims(&server, &alice).await;
    let before = server.dump().await;

    let mut twins = 0;
    for (case, administration) in cases_with_an_id(&server).await {
        let callers = [("bob", &*bob), ("bob's key", secret(&bobs_key)), ("bob's weak key", secret(&weak_key))];
        // An administrator sees the ids of all owners, on purpose.
        let callers = callers.into_iter().chain((!administration).then_some(("carol", &*carol)));
        for (who, credential) in callers {
            for (state, victim) in &victims {
                twins += 1;
                let context = format!("{} by {who} of a key that is {state}", case.operation);
                let foreign = response_like_unknown_id(&server, case, credential, victim, twins, &context).await;
                let expected: &[u16] = match case.operation {
                    "list_my_api_keys" | "list_my_audit_events" => &[200, 403],
                    _ if administration || who == "bob's weak key" => &[403],
                    _ if case.operation == "update_my_api_key" => &[404, 422],
                    _ => &[404],
                };
                assert!(expected.contains(&foreign.status.as_u16()), "{context}: {}", foreign.text);
                assert!(
                    !foreign.text.contains("alice") && !foreign.text.contains(victim),
                    "{context}: {}",
                    foreign.text
                );
                if foreign.status == 200 {
                    assert_eq!(foreign.body, json!({ "items": [] }), "{context}");
                }
            }
        }
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn tenancy_operations_without_id_see_only_own_keys() {
    let server = Server::start();
    let (alice, bob) = (server.token("alice"), server.token("bob"));
    let theirs = server.create_key_from(&alice, json!({ "name": "theirs" })).await;
    let mine = server.create_key_from(&bob, json!({ "name": "mine" })).await;

    let list = server.get(KEYS, &bob).await;
    assert_eq!(list.status, 200);
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1, "{}", list.text);
    assert_eq!(list.body["items"][0]["id"], mine["id"]);
    let events = server.get("/api/auth/audit-events", &bob).await;
    assert_eq!(events.status, 200);
    assert_eq!(events.body["items"].as_array().unwrap().len(), 1, "{}", events.text);
    assert_eq!(events.body["items"][0]["key_id"], mine["id"]);

    let before = server.dump().await;
    for member in ["owner", "owner_subject", "issuer", "subject", "organization", "id"] {
        let mut body = json!({ "name": "x" });
        body[member] = "alice".into();
        let response = server.create(&bob, body).await;
        response.assert_violations(&[&format!("/{member}")]);
    }
    for parameter in ["owner", "issuer", "subject", "organization"] {
        for path in [KEYS, "/api/auth/audit-events"] {
            server.get(&format!("{path}?{parameter}=alice"), &bob).await.assert_problem(400);
        }
    }
    for (method, path) in [
        (Method::GET, "/api/admin/api-keys"),
        (Method::GET, "/api/admin/audit-events"),
        (Method::POST, "/api/admin/api-keys/revoke"),
        (Method::GET, "/api/admin/revocation-jobs"),
    ] {
        let body = if method == Method::POST { json!({ "subject": "alice" }) } else { Value::Null };
        let response = server.call(method, path, &bob, body).await;
        response.assert_problem(403);
        let challenge = r#"Bearer error="insufficient_scope", scope="api-keys:admin""#;
        assert_eq!(response.header("www-authenticate"), Some(challenge), "{path}");
    }
    for operation in ["verify_api_key", "introspect_token", "get_this_api_key", "revoke_this_api_key"] {
        let case = CASES.iter().find(|case| case.operation == operation).unwrap();
        Response::to((case.request)(&server, &bob, "")).await.assert_problem(403);
    }
    assert_eq!(server.dump().await, before);
    assert_eq!(server.get(&format!("{KEYS}{}", id(&theirs)), &alice).await.body["status"], "active");
}

/// A cursor is a position in the order of all keys. It grants no access to the keys at that position.
#[tokio::test]
async fn tenancy_other_owners_cursor_shows_only_own_keys() {
    let server = Server::start();
    let (alice, bob) = (server.token("alice"), server.token("bob"));
    let mut mine = Vec::new();
    for name in ["1", "2", "3"] {
        mine.push(server.create_key_from(&bob, json!({ "name": name })).await["id"].clone());
        server.create_key_from(&alice, json!({ "name": name })).await;
    }
    let page = server.get(&format!("{KEYS}?limit=1"), &alice).await;
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let response = server.get(&format!("{KEYS}?cursor={cursor}"), &bob).await;
    let ids: Vec<_> = response.body["items"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
    assert_eq!(ids, [mine[2].clone(), mine[1].clone(), mine[0].clone()]);
}
