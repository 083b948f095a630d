//! Bulk revoke: every key that matches all filters.

use reqwest::Method;
use serde_json::{Value, json};

use super::{EVENTS_OF_ALL, KEYS_OF_ALL, deployment, names, revoke};
use crate::revocation_jobs::{end_of_job, multiply_key};
use crate::support::{KEYS, Response, Server, id, secret};

const ISSUER: &str = "urn:mintkey:standalone";

pub async fn bulk_revoke(server: &Server, token: &str, body: Value) -> Response {
    server.call(Method::POST, &format!("{KEYS_OF_ALL}/revoke"), token, body).await
}

#[tokio::test]
async fn admin_bulk_revoke_dry_run_counts_matching_keys() {
    let (server, carol, keys) = deployment().await;
    assert_eq!(revoke(&server, &carol, id(&keys[2]), json!({ "reason": "before" })).await.status, 200);
    let before = server.dump().await;
    let filter = json!({ "organization": "acme", "reason": "acme leaked", "dry_run": true });
    for _ in 0..2 {
        let response = bulk_revoke(&server, &carol, filter.clone()).await;
        assert_eq!(response.status, 200, "{}", response.text);
        assert_eq!(response.body, json!({ "count": { "matched": 2, "descendants": 0, "complete": true } }));
    }
    assert_eq!(server.dump().await, before);

    let filter = json!({ "organization": "acme", "reason": "acme leaked" });
    let response = bulk_revoke(&server, &carol, filter.clone()).await;
    assert_eq!(end_of_job(&server, &carol, &response).await["revoked"], 2);
    for (key, reason) in [(&keys[0], "acme leaked"), (&keys[1], "acme leaked"), (&keys[2], "before")] {
        let now = server.get(&format!("{KEYS_OF_ALL}/{}", id(key)), &carol).await.body;
        assert_eq!((&now["revoke_reason"], &now["revoked_by"]), (&json!(reason), &json!("carol")));
        assert_eq!(server.audit_actions(id(key)).await, ["created", "revoked"]);
        server.get(KEYS, secret(key)).await.assert_problem(401);
    }
    assert_eq!(server.audit_actions(id(&keys[3])).await, ["created"]);
    let events = server.get(&format!("{EVENTS_OF_ALL}?action=revoked"), &carol).await;
    assert!(events.body["items"].as_array().unwrap().iter().all(|event| event["actor"]["subject"] == "carol"));
    let keys_and_counts = async || {
        let dump = server.dump().await;
        let lines = dump.lines().filter(|line| line.starts_with("api_keys") || line.starts_with("owner_key_counts"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let after = keys_and_counts().await;
    let again = bulk_revoke(&server, &carol, filter).await;
    let job = end_of_job(&server, &carol, &again).await;
    assert_eq!((&job["examined"], &job["revoked"]), (&json!(3), &json!(0)));
    assert_eq!(keys_and_counts().await, after);
}

#[tokio::test]
async fn admin_bulk_revoke_matches_all_filter_fields() {
    let (server, carol, keys) = deployment().await;
    let made = |key: &Value| key["created_at"].clone();
    for (filter, matched) in [
        (json!({ "subject": "alice", "organization": "acme" }), 2),
        (json!({ "subject": "dave", "organization": "acme" }), 0),
        (json!({ "subject": "alice", "issuer": "https://elsewhere.example" }), 0),
        (json!({ "subject": "unknown" }), 0),
        (json!({ "issuer": ISSUER }), 4),
        (json!({ "created_before": made(&keys[2]) }), 2),
        (json!({ "created_before": made(&keys[2]), "subject": "bob" }), 0),
        (json!({ "created_before": "2020-01-01T00:00:00Z" }), 0),
        (json!({ "created_before": "2090-01-01T00:00:00Z", "subject": "bob" }), 1),
    ] {
        let mut body = filter.clone();
        body["dry_run"] = true.into();
        assert_eq!(bulk_revoke(&server, &carol, body).await.body["count"]["matched"], matched, "{filter}");
    }
    let response = bulk_revoke(&server, &carol, json!({ "created_before": made(&keys[1]) })).await;
    assert_eq!(end_of_job(&server, &carol, &response).await["revoked"], 1);
    assert_eq!(names(&server, &carol, "status=active").await, ["other", "build", "deploy bot"]);
}

#[tokio::test]
async fn admin_bulk_revoke_with_invalid_filter_is_rejected() {
    let (server, carol, _) = deployment().await;
    let before = server.dump().await;
    for (body, pointer) in [
        (json!({}), ""),
        (json!({ "dry_run": false, "reason": "x" }), ""),
        (json!({ "subject": "" }), "/subject"),
        (json!({ "subject": null, "reason": "x" }), ""),
        (json!({ "subject": 5 }), "/subject"),
        (json!({ "subject": "a\u{0}" }), "/subject"),
        (json!({ "subject": ["alice"] }), "/subject"),
        (json!({ "subject": "alice", "created_before": "yesterday" }), "/created_before"),
        (json!({ "subject": "alice", "dry_run": "true" }), "/dry_run"),
        (json!({ "subject": "alice", "dryRun": true }), "/dryRun"),
        (json!({ "subject": "alice", "reason": " " }), "/reason"),
    ] {
        let response = bulk_revoke(&server, &carol, body.clone()).await;
        response.assert_problem(422);
        assert_eq!(response.pointers(), [pointer], "{body}");
    }
    let body = json!({ "issuer": "", "subject": "alice", "dry_run": true });
    let response = bulk_revoke(&server, &carol, body).await;
    assert_eq!(response.pointers(), ["/issuer"], "valid fields are not called unknown: {}", response.text);
    bulk_revoke(&server, &carol, json!([])).await.assert_problem(400);
    let path = format!("{KEYS_OF_ALL}/revoke");
    Response::to(server.request(Method::POST, &path, &carol).body("{}")).await.assert_problem(415);
    assert!(server.call(Method::POST, &path, &carol, Value::Null).await.status.is_client_error(), "a body is required");
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn admin_bulk_revoke_of_several_batches_is_complete() {
    let server = Server::start();
    let carol = server.token_with("carol", &["--scopes", "api-keys:admin"]);
    let key = server.create_key(&server.token("alice"), &[]).await;
    multiply_key(&server, "alice", 1200).await;
    let response = bulk_revoke(&server, &carol, json!({ "subject": "alice" })).await;
    let job = end_of_job(&server, &carol, &response).await;
    assert_eq!((&job["examined"], &job["revoked"]), (&json!(1200), &json!(1200)));
    assert_eq!(server.count("api_keys WHERE revoked_at IS NULL").await, 0);
    assert_eq!(server.count("audit_events WHERE action = 'revoked'").await, 1200);
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "revoked"]);
}
