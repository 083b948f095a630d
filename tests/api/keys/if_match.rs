//! `If-Match`: an operation on a key is executed only if the key has the expected revision.

use futures_util::future::join_all;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::get;
use crate::support::{KEYS, Response, Server, id, secret};

/// Every operation on a key with an `If-Match`: on the owner's, the administrator's and the key's own face.
const OPERATIONS: [(Method, Face, &str); 9] = [
    (Method::GET, Face::Owner, ""),
    (Method::PATCH, Face::Owner, ""),
    (Method::POST, Face::Owner, "/rotate"),
    (Method::POST, Face::Owner, "/revoke"),
    (Method::DELETE, Face::Owner, ""),
    (Method::GET, Face::Itself, ""),
    (Method::DELETE, Face::Itself, ""),
    (Method::GET, Face::Admin, ""),
    (Method::POST, Face::Admin, "/revoke"),
];

#[derive(Clone, Copy, Debug)]
enum Face {
    Owner,
    Itself,
    Admin,
}

type Operation = (Method, Face, &'static str);

async fn alice_as_admin() -> (Server, String) {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:admin"]);
    (server, token)
}

/// The request for an operation on this key, without `If-Match`.
fn request(server: &Server, token: &str, key: &Value, (method, face, tail): &Operation) -> RequestBuilder {
    let (base, credential) = match face {
        Face::Owner => (format!("{KEYS}{}", id(key)), token),
        Face::Itself => (format!("{KEYS}self"), secret(key)),
        Face::Admin => (format!("/api/admin/api-keys/{}", id(key)), token),
    };
    let request = server.request(method.clone(), &format!("{base}{tail}"), credential);
    if *method == Method::PATCH { request.json(&json!({ "metadata": { "by": "if-match" } })) } else { request }
}

async fn send(server: &Server, token: &str, key: &Value, operation: &Operation, tags: &[&str]) -> Response {
    let tags = tags.iter().map(|tag| HeaderValue::from_bytes(tag.as_bytes()).unwrap());
    Response::to(tags.fold(request(server, token, key, operation), |request, tag| request.header("if-match", tag)))
        .await
}

/// Creates a key, changes it once, and returns it with its ETags before and after.
async fn changed_key(server: &Server, token: &str) -> (Value, [String; 2]) {
    let created = server.create(token, json!({ "name": "k" })).await;
    let changed = server.patch(id(&created.body), token, json!({ "name": "y" })).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let tags = [created.etag().to_owned(), changed.etag().to_owned()];
    assert_ne!(tags[0], tags[1]);
    (created.body, tags)
}

#[tokio::test]
async fn if_match_of_other_revision_changes_nothing() {
    let (server, token) = alice_as_admin().await;
    let (key, [stale, fresh]) = changed_key(&server, &token).await;
    let inner = fresh.trim_matches('"');
    let mut tags = vec![stale.clone(), format!("\"0{inner}\""), format!("\"+{inner}\""), format!("{stale}, \"x\"")];
    tags.extend(["\"999\"", "\"\"", "\"x\"", "\"é\"", "\"*\"", "W/\"x\"", "\"1,2\""].map(str::to_owned));
    let before = server.dump().await;
    for operation in &OPERATIONS {
        for tag in &tags {
            let response = send(&server, &token, &key, operation, &[tag]).await;
            let detail = response.assert_problem(412);
            assert!(detail.contains(&format!("which is now {fresh}")), "{operation:?} {tag}: {detail}");
            assert_eq!(response.body["type"], "about:blank");
        }
        send(&server, &token, &key, operation, &[&stale, "\"999\""]).await.assert_problem(412);
    }
    assert_eq!(server.dump().await, before);
    assert_eq!(get(&server, &token, &key).await.etag(), fresh);
}

#[tokio::test]
async fn if_match_that_a_proxy_altered_is_named_as_such() {
    let (server, token) = alice_as_admin().await;
    let (key, [stale, fresh]) = changed_key(&server, &token).await;
    let before = server.dump().await;
    for operation in &OPERATIONS {
        for tag in [&stale, &fresh] {
            let opaque = tag.trim_matches('"');
            for altered in [
                format!("W/{tag}"),
                format!("\"{opaque}-gzip\""),
                format!("\"{opaque}--gzip\""),
                format!("\"{opaque};br\""),
                format!("W/\"{opaque}-gzip\""),
            ] {
                let response = send(&server, &token, &key, operation, &[&altered]).await;
                response.assert_problem_type(412, "etag-altered");
                let detail = response.body["detail"].as_str().unwrap();
                assert!(detail.contains(&altered) && detail.contains("disable compression"), "{detail}");
            }
        }
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn if_match_that_is_no_entity_tag_is_rejected() {
    let (server, token) = alice_as_admin().await;
    let (key, [_, fresh]) = changed_key(&server, &token).await;
    let inner = fresh.trim_matches('"');
    let before = server.dump().await;
    for operation in &OPERATIONS {
        for garbage in
            ["", ",", "garbage", inner, "\"2", "w/\"2\"", "é", "\"a b\"", &format!("{fresh} {fresh}"), "*, *"]
        {
            let response = send(&server, &token, &key, operation, &[garbage]).await;
            assert!(response.assert_problem(400).contains("If-Match"), "{operation:?} {garbage}: {}", response.text);
        }
        send(&server, &token, &key, operation, &["*", &fresh]).await.assert_problem(400);
        send(&server, &token, &key, operation, &[&fresh, "é"]).await.assert_problem(400);
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn if_match_of_current_revision_or_star_is_executed() {
    let (server, token) = alice_as_admin().await;
    for operation in &OPERATIONS {
        for form in ["alone", "star", "in a list", "in a second field", "beside an altered one"] {
            let (key, [stale, fresh]) = changed_key(&server, &token).await;
            let list = format!("{stale} ,\t{fresh}");
            let altered = format!("W/{fresh}");
            let tags: &[&str] = match form {
                "alone" => &[&fresh],
                "star" => &[" * "],
                "in a list" => &[&list],
                "in a second field" => &[&stale, &fresh],
                _ => &[&altered, &fresh],
            };
            let response = send(&server, &token, &key, operation, tags).await;
            assert!(response.status.is_success(), "{operation:?} {form}: {}", response.text);
            let now = server.get(&format!("/api/admin/api-keys/{}", id(&key)), &token).await;
            assert_eq!(now.etag() == fresh, operation.0 == Method::GET, "{operation:?} {form}");
            if operation.0 != Method::DELETE {
                assert_eq!(response.etag(), now.etag(), "{operation:?} {form}");
            }
        }
    }
}

#[tokio::test]
async fn if_match_of_concurrent_changes_admits_one() {
    let (server, token) = alice_as_admin().await;
    let changes: Vec<_> = OPERATIONS.iter().filter(|(method, ..)| *method != Method::GET).collect();
    for _ in 0..10 {
        let (key, [_, fresh]) = changed_key(&server, &token).await;
        let tags = [&*fresh];
        let responses = join_all(changes.iter().map(|change| send(&server, &token, &key, change, &tags))).await;
        let admitted = responses.iter().filter(|response| response.status.is_success()).count();
        assert_eq!(admitted, 1, "{responses:?}");
        // A deletion or the end of the key may be seen before its revision is.
        let refused = responses.iter().filter(|response| !response.status.is_success());
        for response in refused {
            assert!([401, 404, 412].contains(&response.status.as_u16()), "{}", response.text);
        }
        // The creation, the first change, and the admitted change.
        let actions = server.audit_actions(id(&key)).await;
        assert!(matches!(&actions[2..], [_] | [_, _]), "{actions:?}");
        assert_eq!(actions.len() == 4, actions.contains(&"deleted".to_owned()), "{actions:?}");
    }
}

#[tokio::test]
async fn rotate_replayed_ignores_its_if_match() {
    let (server, token) = alice_as_admin().await;
    let (key, [_, fresh]) = changed_key(&server, &token).await;
    let rotate = |idempotency_key: &'static str| {
        let request = request(&server, &token, &key, &(Method::POST, Face::Owner, "/rotate"));
        Response::to(request.header("idempotency-key", idempotency_key).header("if-match", &fresh))
    };
    let first = rotate("an-unguessable-request-key-1").await;
    assert_eq!(first.status, 201, "{}", first.text);
    assert_eq!(first.etag(), get(&server, &token, &key).await.etag());
    let before = server.dump().await;
    let again = rotate("an-unguessable-request-key-1").await;
    assert_eq!((again.status.as_u16(), &again.text, again.etag()), (201, &first.text, first.etag()));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    rotate("an-unguessable-request-key-2").await.assert_problem(412);
    assert_eq!(server.dump().await, before);
}
