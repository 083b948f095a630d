//! Administration: keys of all owners, for callers with the scope for it and nobody else.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, KEYS, Server, database, id, nobodys, secret};

const KEYS_OF_ALL: &str = "/api/admin/api-keys";
const EVENTS_OF_ALL: &str = "/api/admin/audit-events";
const ISSUER: &str = "urn:mintkey:standalone";

/// A server, an administrator's token, and keys of alice (of acme, two), bob (of acme) and dave.
async fn deployment() -> (Server, String, Vec<Value>) {
    let server = Server::start();
    let carol = server.token_with("carol", &["--scopes", "api-keys:admin"]);
    let mut keys = Vec::new();
    for (subject, organization, name) in [
        ("alice", "acme", "build bot"),
        ("alice", "acme", "deploy bot"),
        ("bob", "acme", "build"),
        ("dave", "", "other"),
    ] {
        let arguments = ["--organization", organization];
        let token = server.token_with(subject, if organization.is_empty() { &[] } else { &arguments });
        keys.push(server.key(&token, json!({ "name": name })).await);
    }
    (server, carol, keys)
}

async fn names(server: &Server, token: &str, query: &str) -> Vec<String> {
    let answer = server.get(&format!("{KEYS_OF_ALL}?{query}"), token).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    let items = answer.body["items"].as_array().unwrap();
    assert!(items.iter().all(|key| key.get("secrets").is_none() && key.get("key").is_none()), "{}", answer.text);
    items.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect()
}

async fn revoke_all(server: &Server, token: &str, body: Value) -> Answer {
    server.ask(Method::POST, &format!("{KEYS_OF_ALL}/revoke"), token, body).await
}

async fn revoke(server: &Server, token: &str, id: &str, body: Value) -> Answer {
    server.ask(Method::POST, &format!("{KEYS_OF_ALL}/{id}/revoke"), token, body).await
}

#[tokio::test]
async fn nobody_administers_without_the_scope() {
    let (server, carol, keys) = deployment().await;
    let every_other = &["--scopes", "api-keys:read api-keys:write api-keys:verify api-keys:* api-keys:admins *"];
    let alice = server.token_with("alice", every_other);
    let body = json!({ "name": "k", "scopes": ["api-keys:read", "api-keys:write", "api-keys:verify"] });
    let key = server.key(&alice, body).await;
    let admin_key = server.key(&carol, json!({ "name": "a", "scopes": ["api-keys:admin"] })).await;
    let before = server.dump().await;
    for credential in [&*alice, secret(&key)] {
        for (method, path, body) in [
            (Method::GET, KEYS_OF_ALL.to_owned(), Value::Null),
            (Method::GET, format!("{KEYS_OF_ALL}/{}", id(&keys[0])), Value::Null),
            (Method::GET, format!("{KEYS_OF_ALL}/{}", nobodys()), Value::Null),
            (Method::POST, format!("{KEYS_OF_ALL}/{}/revoke", id(&keys[0])), Value::Null),
            (Method::POST, format!("{KEYS_OF_ALL}/{}/revoke", id(&keys[0])), json!({ "reason": 5 })),
            (Method::POST, format!("{KEYS_OF_ALL}/revoke"), json!({ "subject": "alice" })),
            (Method::POST, format!("{KEYS_OF_ALL}/revoke"), json!({})),
            (Method::GET, EVENTS_OF_ALL.to_owned(), Value::Null),
        ] {
            let answer = server.ask(method.clone(), &path, credential, body).await;
            answer.problem(403);
            let challenge = r#"Bearer error="insufficient_scope", scope="api-keys:admin""#;
            assert_eq!(answer.header("www-authenticate"), Some(challenge), "{method} {path}");
        }
    }
    assert_eq!(server.dump().await, before);
    server.create(&alice, json!({ "name": "x", "scopes": ["api-keys:admin"] })).await.problem(403);
    assert_eq!(server.get(KEYS_OF_ALL, secret(&admin_key)).await.status, 200, "a key with the scope administers");
    server.get(KEYS, secret(&admin_key)).await.problem(403);
}

#[tokio::test]
async fn keys_of_all_owners_are_listed_and_filtered() {
    let (server, carol, keys) = deployment().await;
    assert_eq!(revoke(&server, &carol, id(&keys[0]), Value::Null).await.status, 200);
    for (query, expected) in [
        ("", vec!["other", "build", "deploy bot", "build bot"]),
        ("subject=alice", vec!["deploy bot", "build bot"]),
        ("organization=acme", vec!["build", "deploy bot", "build bot"]),
        ("organization=acme&subject=bob", vec!["build"]),
        ("organization=ACME", vec![]),
        ("subject=Alice", vec![]),
        ("subject=alic", vec![]),
        ("subject=%25", vec![]),
        ("issuer=https://elsewhere.example", vec![]),
        ("q=build", vec!["build", "build bot"]),
        ("status=revoked", vec!["build bot"]),
        ("status=active&q=build", vec!["build"]),
        ("subject=carol", vec![]),
    ] {
        assert_eq!(names(&server, &carol, query).await, expected, "{query}");
    }
    let by_issuer = format!("issuer={ISSUER}&subject=dave");
    assert_eq!(names(&server, &carol, &by_issuer).await, ["other"]);

    let first = server.get(&format!("{KEYS_OF_ALL}?organization=acme&limit=2"), &carol).await;
    let next = first.header("link").unwrap()[1..].split_once('>').unwrap().0.to_owned();
    let cursor = first.body["next_cursor"].as_str().unwrap();
    assert_eq!(next, format!("{KEYS_OF_ALL}?organization=acme&limit=2&cursor={cursor}"));
    let second = server.get(&next, &carol).await;
    assert_eq!(second.body["items"][0]["id"], keys[0]["id"]);
    assert!(second.body.get("next_cursor").is_none() && second.header("link").is_none());
    for query in ["limit=0", "status=x", "owner=alice", "subject=a&subject=b", "cursor=x"] {
        server.get(&format!("{KEYS_OF_ALL}?{query}"), &carol).await.problem(400);
    }
}

#[tokio::test]
async fn a_deleted_key_is_there_for_the_administrator() {
    let (server, carol, keys) = deployment().await;
    assert_eq!(server.delete(id(&keys[3]), &server.token("dave")).await.status, 204);
    assert_eq!(names(&server, &carol, "subject=dave").await, ["other"]);
    let answer = server.get(&format!("{KEYS_OF_ALL}/{}", id(&keys[3])), &carol).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!((&answer.body["status"], &answer.body["owner"]["subject"]), (&json!("revoked"), &json!("dave")));
    assert!(answer.body["deleted_at"].is_string(), "{}", answer.text);
    assert_eq!(answer.body["revoked_by"], "dave");

    let alive = server.get(&format!("{KEYS_OF_ALL}/{}", id(&keys[0])), &carol).await;
    assert_eq!((alive.status.as_u16(), &alive.body["status"]), (200, &json!("active")));
    assert!(alive.body.get("deleted_at").is_none() && alive.body["secrets"].is_array());
    assert!(!alive.etag().is_empty());
    for absent in [&nobodys(), "x"] {
        server.get(&format!("{KEYS_OF_ALL}/{absent}"), &carol).await.problem(404);
        revoke(&server, &carol, absent, Value::Null).await.problem(404);
    }
}

#[tokio::test]
async fn an_administrator_ends_any_key_in_their_own_name() {
    let (server, carol, keys) = deployment().await;
    let answer = revoke(&server, &carol, id(&keys[0]), json!({ "reason": "leaked" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!((&answer.body["status"], &answer.body["revoked_by"]), (&json!("revoked"), &json!("carol")));
    assert_eq!(answer.body["revoke_reason"], "leaked");
    assert_eq!(answer.body["owner"]["subject"], "alice");
    server.get(KEYS, secret(&keys[0])).await.problem(401);
    let before = server.dump().await;
    let again = revoke(&server, &carol, id(&keys[0]), json!({ "reason": "again" })).await;
    assert_eq!((again.status.as_u16(), &again.text), (200, &answer.text));
    assert_eq!(server.dump().await, before);

    let events = server.get(&format!("{EVENTS_OF_ALL}?key_id={}", id(&keys[0])), &carol).await;
    let event = &events.body["items"][0];
    assert_eq!((&event["action"], &event["actor"]["subject"]), (&json!("revoked"), &json!("carol")));
    assert_eq!((&event["owner"]["subject"], &event["changes"]), (&json!("alice"), &json!({ "reason": "leaked" })));
    let own = server.get(&format!("{KEYS}{}", id(&keys[0])), &server.token("alice")).await;
    assert_eq!(own.body["revoked_by"], "carol");
}

#[tokio::test]
async fn a_dry_run_counts_what_the_revocation_then_ends() {
    let (server, carol, keys) = deployment().await;
    assert_eq!(revoke(&server, &carol, id(&keys[2]), json!({ "reason": "before" })).await.status, 200);
    let before = server.dump().await;
    let filter = json!({ "organization": "acme", "reason": "acme leaked", "dry_run": true });
    for _ in 0..2 {
        let answer = revoke_all(&server, &carol, filter.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.body, json!({ "matched": 2, "revoked": 0, "dry_run": true }));
    }
    assert_eq!(server.dump().await, before);

    let filter = json!({ "organization": "acme", "reason": "acme leaked" });
    let answer = revoke_all(&server, &carol, filter.clone()).await;
    assert_eq!(answer.body, json!({ "matched": 2, "revoked": 2, "dry_run": false }));
    for (key, reason) in [(&keys[0], "acme leaked"), (&keys[1], "acme leaked"), (&keys[2], "before")] {
        let now = server.get(&format!("{KEYS_OF_ALL}/{}", id(key)), &carol).await.body;
        assert_eq!((&now["revoke_reason"], &now["revoked_by"]), (&json!(reason), &json!("carol")));
        assert_eq!(server.actions(id(key)).await, ["created", "revoked"]);
        server.get(KEYS, secret(key)).await.problem(401);
    }
    assert_eq!(server.actions(id(&keys[3])).await, ["created"]);
    let events = server.get(&format!("{EVENTS_OF_ALL}?action=revoked"), &carol).await;
    assert!(events.body["items"].as_array().unwrap().iter().all(|event| event["actor"]["subject"] == "carol"));
    let after = server.dump().await;
    let again = revoke_all(&server, &carol, filter).await;
    assert_eq!(again.body, json!({ "matched": 0, "revoked": 0, "dry_run": false }));
    assert_eq!(server.dump().await, after);
}

#[tokio::test]
async fn all_members_of_a_filter_have_to_match() {
    let (server, carol, keys) = deployment().await;
    let made = |key: &Value| key["created_at"].clone();
    for (filter, matched) in [
        (json!({ "subject": "alice", "organization": "acme" }), 2),
        (json!({ "subject": "dave", "organization": "acme" }), 0),
        (json!({ "subject": "alice", "issuer": "https://elsewhere.example" }), 0),
        (json!({ "subject": "nobody" }), 0),
        (json!({ "issuer": ISSUER }), 4),
        (json!({ "created_before": made(&keys[2]) }), 2),
        (json!({ "created_before": made(&keys[2]), "subject": "bob" }), 0),
        (json!({ "created_before": "2020-01-01T00:00:00Z" }), 0),
        (json!({ "created_before": "2090-01-01T00:00:00Z", "subject": "bob" }), 1),
    ] {
        let mut body = filter.clone();
        body["dry_run"] = true.into();
        assert_eq!(revoke_all(&server, &carol, body).await.body["matched"], matched, "{filter}");
    }
    let answer = revoke_all(&server, &carol, json!({ "created_before": made(&keys[1]) })).await;
    assert_eq!(answer.body, json!({ "matched": 1, "revoked": 1, "dry_run": false }));
    assert_eq!(names(&server, &carol, "status=active").await, ["other", "build", "deploy bot"]);
}

#[tokio::test]
async fn a_filter_that_is_empty_or_wrong_revokes_nothing() {
    let (server, carol, _) = deployment().await;
    let before = server.dump().await;
    for (body, pointer) in [
        (json!({}), ""),
        (json!({ "dry_run": false, "reason": "x" }), ""),
        (json!({ "subject": "" }), "/subject"),
        (json!({ "subject": null }), "/subject"),
        (json!({ "subject": 5 }), "/subject"),
        (json!({ "subject": ["alice"] }), "/subject"),
        (json!({ "subject": "alice", "organization": null }), "/organization"),
        (json!({ "subject": "alice", "created_before": "yesterday" }), "/created_before"),
        (json!({ "subject": "alice", "dry_run": "true" }), "/dry_run"),
        (json!({ "subject": "alice", "dry_run": null }), "/dry_run"),
        (json!({ "subject": "alice", "dryRun": true }), "/dryRun"),
        (json!({ "subject": "alice", "reason": " " }), "/reason"),
    ] {
        let answer = revoke_all(&server, &carol, body.clone()).await;
        answer.problem(422);
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    revoke_all(&server, &carol, json!([])).await.problem(400);
    let path = format!("{KEYS_OF_ALL}/revoke");
    Answer::of(server.request(Method::POST, &path, &carol).body("{}")).await.problem(415);
    assert!(server.ask(Method::POST, &path, &carol, Value::Null).await.status.is_client_error(), "a body is required");
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn more_keys_than_one_batch_are_all_revoked() {
    let server = Server::start();
    let carol = server.token_with("carol", &["--scopes", "api-keys:admin"]);
    let key = server.key(&server.token("alice"), json!({ "name": "k" })).await;
    let columns = "owner_issuer, owner_subject, owner_organization, name, name_words, scopes, metadata, \
                   enabled, secret_start, secret_last4, created_at, updated_at, expires_at, revoked_at, \
                   revoked_by, revoke_reason, deleted_at, revision, secret_created_at, secret_pepper_id, \
                   creation_actor_kind, creation_request_id, creation_changes";
    let kind = database::kind() as usize;
    server
        .execute(&format!(
            "INSERT INTO api_keys (id, secret_id, secret_hash, {columns}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1199) \
             SELECT {}, {}, {}, {columns} FROM api_keys, n",
            database::NEW_UUID[kind],
            database::NEW_UUID[kind],
            database::NEW_HASH[kind]
        ))
        .await;
    assert_eq!(server.count("api_keys").await, 1200);
    let answer = revoke_all(&server, &carol, json!({ "subject": "alice" })).await;
    assert_eq!(answer.body, json!({ "matched": 1200, "revoked": 1200, "dry_run": false }));
    assert_eq!(server.count("api_keys WHERE revoked_at IS NULL").await, 0);
    assert_eq!(server.count("audit_events WHERE action = 'revoked'").await, 1200);
    assert_eq!(server.actions(id(&key)).await, ["created", "revoked"]);
}

#[tokio::test]
async fn the_audit_of_all_shows_every_owner() {
    let (server, carol, keys) = deployment().await;
    assert_eq!(revoke(&server, &carol, id(&keys[3]), Value::Null).await.status, 200);
    let all = server.get(&format!("{EVENTS_OF_ALL}?limit=100"), &carol).await;
    assert_eq!(all.status, 200, "{}", all.text);
    let subjects: Vec<_> = all.body["items"].as_array().unwrap().iter().map(|e| &e["owner"]["subject"]).collect();
    assert_eq!(subjects, ["dave", "dave", "bob", "alice", "alice"]);
    let created = server.get(&format!("{EVENTS_OF_ALL}?action=created&limit=3"), &carol).await;
    assert_eq!(created.body["items"].as_array().unwrap().len(), 3);
    let next = created.header("link").unwrap()[1..].split_once('>').unwrap().0.to_owned();
    let rest = server.get(&next, &carol).await;
    assert_eq!(rest.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest.body["items"][0]["key_id"], keys[0]["id"]);
}
