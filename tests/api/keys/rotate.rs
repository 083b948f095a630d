//! Rotate: a new secret for the same key, and a grace period for the old one.

mod by_keys;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mintkey::domain::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use super::{alice_with_scopes, get, time};
use crate::support::{KEYS, Response, Server, database, id, secret};

async fn create_key(server: &Server, token: &str, more: Value) -> Value {
    let mut body = json!({ "name": "k", "scopes": ["api-keys:read", "api-keys:write"] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.create_key_from(token, body).await
}

async fn is_accepted(server: &Server, secret: &str) -> bool {
    let response = server.get(KEYS, secret).await;
    if response.status != 200 {
        response.assert_problem(401);
    }
    response.status == 200
}

/// Checks that the secret works in every request that ends before the instant, and in none that begins after it.
async fn assert_expires_at(server: &Server, secret: &str, end: DateTime<Utc>) {
    let now = || Clock::System.now();
    assert!(end - now() < TimeDelta::seconds(10), "{end} is too far away to wait for");
    let mut alive = 0;
    loop {
        let begun = now();
        let accepted = server.get(KEYS, secret).await.status == 200;
        assert!(accepted || now() >= end, "refused before {end}");
        assert!(!accepted || begun < end, "accepted after {end}");
        if begun >= end {
            break;
        }
        alive += usize::from(accepted);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(alive > 0, "never accepted before {end}");
}

#[tokio::test]
async fn rotate_without_grace_replaces_secret_at_once() {
    let (server, token) = alice_with_scopes().await;
    let key = create_key(&server, &token, json!({ "metadata": { "a": 1 }, "expires_in_seconds": 3600 })).await;
    assert!(is_accepted(&server, secret(&key)).await);

    let response = server.rotate(id(&key), &token, Value::Null).await;
    assert_eq!(response.status, 201, "{}", response.text);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("location"), Some(&*format!("../{}", id(&key))));
    assert_eq!(response.location(), Some(format!("{KEYS}{}", id(&key))));
    assert_eq!(response.header("idempotency-replayed"), None);
    let new = secret(&response.body);
    assert!(new != secret(&key) && new.starts_with("mk_") && new.len() == 52, "{new}");
    assert_eq!((&response.body["start"], &response.body["last4"]), (&json!(new[..7]), &json!(new[48..])));
    for member in ["id", "name", "scopes", "metadata", "created_at", "expires_at"] {
        assert_eq!(response.body[member], key[member], "{member}");
    }
    assert!(is_accepted(&server, new).await);
    assert!(!is_accepted(&server, secret(&key)).await);

    let rows = server.rows("SELECT start, last4, expires_at FROM secrets ORDER BY id").await;
    assert_eq!(rows.len(), 2, "the old row stays");
    assert_eq!(rows[0].try_get::<String>("", "last4").unwrap(), key["last4"].as_str().unwrap());
    assert!(rows[0].try_get::<Option<DateTime<Utc>>>("", "expires_at").unwrap().unwrap() <= Clock::System.now());
    assert_eq!(rows[1].try_get::<String>("", "last4").unwrap(), new[48..]);
    assert_eq!(rows[1].try_get::<Option<DateTime<Utc>>>("", "expires_at").unwrap(), None);
    assert_eq!(server.audit_actions(id(&key)).await, ["created", "rotated"]);
}

#[tokio::test]
async fn rotate_with_grace_keeps_old_secret_until_its_end() {
    let (server, token) = alice_with_scopes().await;
    let key = create_key(&server, &token, json!({})).await;
    let new = server.rotate(id(&key), &token, json!({ "grace_seconds": 1 })).await.body;
    let end = time(&get(&server, &token, &key).await.body["secrets"][1]["expires_at"]);
    assert!(is_accepted(&server, secret(&new)).await);
    assert_expires_at(&server, secret(&key), end).await;

    assert!(is_accepted(&server, secret(&new)).await);
    let after = get(&server, &token, &key).await.body;
    assert_eq!(after["secrets"].as_array().unwrap().len(), 1, "{after}");
    assert!(after.get("safe_to_retire").is_none(), "{after}");
    let again = server.rotate(id(&key), &token, Value::Null).await;
    assert_eq!(again.status, 201, "the grace is over: {}", again.text);
    assert_eq!(server.count("secrets").await, 3);
}

#[tokio::test]
async fn rotate_with_grace_lists_both_secrets() {
    let (server, token) = alice_with_scopes().await;
    let key = create_key(&server, &token, json!({})).await;
    let before = get(&server, &token, &key).await.body;
    assert_eq!(before["secrets"].as_array().unwrap().len(), 1);
    assert!(before.get("safe_to_retire").is_none(), "{before}");

    let before = Clock::System.now();
    let new = server.rotate(id(&key), &token, json!({ "grace_seconds": 3600 })).await.body;
    let after = Clock::System.now();
    let response = server.get(&format!("{KEYS}{}", id(&key)), &token).await;
    let secrets = response.body["secrets"].as_array().unwrap();
    assert_eq!(secrets.len(), 2, "{}", response.text);
    for (get_key, issued) in secrets.iter().zip([&new, &key]) {
        assert_eq!((&get_key["start"], &get_key["last4"]), (&issued["start"], &issued["last4"]));
    }
    assert_eq!((&response.body["start"], &response.body["last4"]), (&new["start"], &new["last4"]));
    assert_eq!(secrets[1]["created_at"], key["created_at"]);
    let (created, end) = (time(&secrets[0]["created_at"]), time(&secrets[1]["expires_at"]));
    assert!(before <= created && created <= after);
    assert_eq!(end - created, TimeDelta::hours(1));
    assert!(secrets[0].get("expires_at").is_none(), "{}", response.text);
    assert_eq!(response.body["safe_to_retire"], false, "the new one has not been used");
    for issued in [&new, &key] {
        assert!(!response.text.contains(secret(issued)) && !response.text.contains(&secret(issued)[7..48]));
    }
}

#[tokio::test]
async fn rotate_marks_unused_old_secret_safe_to_retire() {
    let (server, token) = alice_with_scopes().await;
    let key = create_key(&server, &token, json!({})).await;
    server.rotate(id(&key), &token, json!({ "grace_seconds": 3600 })).await;
    let old = "secret_id IN (SELECT id FROM rotated_secrets)";
    for (used, safe) in [
        ("INSERT INTO secret_last_used SELECT secret_id, secret_created_at FROM api_keys".to_owned(), true),
        ("INSERT INTO secret_last_used SELECT id, created_at FROM rotated_secrets".to_owned(), true),
        (
            format!("UPDATE secret_last_used SET last_used_at = (SELECT expires_at FROM rotated_secrets) WHERE {old}"),
            false,
        ),
        (format!("DELETE FROM secret_last_used WHERE NOT {old}"), false),
    ] {
        server.execute(&used).await;
        assert_eq!(get(&server, &token, &key).await.body["safe_to_retire"], safe, "{used}");
    }
}

#[tokio::test]
async fn rotate_shows_last_use_of_each_secret() {
    let (server, token) = alice_with_scopes().await;
    let key = create_key(&server, &token, json!({})).await;
    let new = server.rotate(id(&key), &token, json!({ "grace_seconds": 3600 })).await.body;
    assert!(is_accepted(&server, secret(&new)).await);
    for _ in 0..100 {
        if get(&server, &token, &key).await.body["safe_to_retire"] == true {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = get(&server, &token, &key).await.body;
    assert!(after["secrets"][0].get("last_used_at").is_some(), "{after}");
    assert!(after["secrets"][1].get("last_used_at").is_none(), "{after}");
    assert_eq!(after["safe_to_retire"], true);
}

#[tokio::test]
async fn rotate_never_extends_expiry() {
    let (server, token) = alice_with_scopes().await;
    let key = create_key(&server, &token, json!({ "expires_in_seconds": 2 })).await;
    let new = server.rotate(id(&key), &token, json!({ "grace_seconds": 3600 })).await.body;
    assert_eq!(new["expires_at"], key["expires_at"]);
    let during = get(&server, &token, &key).await.body;
    assert_eq!(during["expires_at"], key["expires_at"]);
    assert_expires_at(&server, secret(&key), time(&key["expires_at"])).await;
    assert!(!is_accepted(&server, secret(&new)).await, "the new secret ends with the key");
    assert!(time(&during["secrets"][1]["expires_at"]) <= time(&key["expires_at"]), "no end beyond the key's: {during}");
}

#[tokio::test]
async fn rotate_during_grace_is_a_conflict() {
    let (server, token) = alice_with_scopes().await;
    let key = create_key(&server, &token, json!({})).await;
    let new = server.rotate(id(&key), &token, json!({ "grace_seconds": 3600 })).await.body;
    let before = server.dump().await;
    for body in [Value::Null, json!({ "grace_seconds": 0 }), json!({ "grace_seconds": 7200 })] {
        let response = server.rotate(id(&key), &token, body).await;
        response.assert_problem_type(409, "rotation-in-progress");
        assert_eq!(response.header("etag"), None);
    }
    assert_eq!(server.dump().await, before);
    assert!(is_accepted(&server, secret(&key)).await && is_accepted(&server, secret(&new)).await);
}

#[tokio::test]
async fn rotate_concurrent_with_grace_succeeds_once() {
    let (server, token) = alice_with_scopes().await;
    for round in 0..20 {
        let key = create_key(&server, &token, json!({})).await;
        let rotate = || server.rotate(id(&key), &token, json!({ "grace_seconds": 60 }));
        let (one, other) = tokio::join!(rotate(), rotate());
        let (winner, loser) = if one.status == 201 { (one, other) } else { (other, one) };
        assert_eq!(winner.status, 201, "round {round}: {}", winner.text);
        loser.assert_problem_type(409, "rotation-in-progress");
        let secrets = format!("secrets WHERE key_id = {}", database::uuid(id(&key)));
        assert_eq!(server.count(&secrets).await, 2);
        assert_eq!(server.audit_actions(id(&key)).await, ["created", "rotated"]);
        assert!(is_accepted(&server, secret(&winner.body)).await && is_accepted(&server, secret(&key)).await);
    }
}

#[tokio::test]
async fn rotate_concurrent_without_grace_leaves_one_secret() {
    let (server, token) = alice_with_scopes().await;
    let key = create_key(&server, &token, json!({})).await;
    let rotate = || server.rotate(id(&key), &token, Value::Null);
    let responses: [Response; 4] = tokio::join!(rotate(), rotate(), rotate(), rotate()).into();
    let rotated: Vec<_> = responses.iter().filter(|response| response.status == 201).collect();
    assert!(!rotated.is_empty() && responses.iter().all(|response| [201, 409].contains(&response.status.as_u16())));
    let mut alive = Vec::new();
    for response in &rotated {
        alive.push(is_accepted(&server, secret(&response.body)).await);
    }
    assert_eq!(alive.iter().filter(|alive| **alive).count(), 1);
    assert!(!is_accepted(&server, secret(&key)).await);
    assert_eq!(server.counts().await, [1, 1 + rotated.len() as i64, 1 + rotated.len() as i64]);
    assert_eq!(get(&server, &token, &key).await.body["secrets"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn rotate_of_inactive_key_is_a_conflict() {
    let (server, token) = alice_with_scopes().await;
    let revoked = create_key(&server, &token, json!({})).await;
    let disabled = create_key(&server, &token, json!({})).await;
    let expired = create_key(&server, &token, json!({ "expires_in_seconds": 1 })).await;
    assert_eq!(server.revoke(id(&revoked), &token, Value::Null).await.status, 200);
    assert_eq!(server.patch(id(&disabled), &token, json!({ "enabled": false })).await.status, 200);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let before = server.dump().await;
    for key in [&revoked, &disabled, &expired] {
        for body in [Value::Null, json!({ "grace_seconds": 60 })] {
            server.rotate(id(key), &token, body).await.assert_problem_type(409, "key-not-active");
        }
    }
    assert_eq!(server.dump().await, before);
    assert_eq!(server.patch(id(&disabled), &token, json!({ "enabled": true })).await.status, 200);
    assert_eq!(server.rotate(id(&disabled), &token, Value::Null).await.status, 201);
}

#[tokio::test]
async fn rotate_with_invalid_grace_is_rejected() {
    let (server, token) = alice_with_scopes().await;
    let key = create_key(&server, &token, json!({})).await;
    let before = server.dump().await;
    for bad in [json!(-1), json!(2_592_001), json!(1.5), json!("60"), json!(true), json!([1]), json!(1e300)] {
        let response = server.rotate(id(&key), &token, json!({ "grace_seconds": bad })).await;
        response.assert_problem(422);
        assert_eq!(response.pointers(), ["/grace_seconds"], "{bad}");
    }
    let unknown = server.rotate(id(&key), &token, json!({ "grace": 5 })).await;
    unknown.assert_violations(&["/grace"]);
    server.rotate(id(&key), &token, json!([])).await.assert_problem(400);
    let path = format!("{KEYS}{}/rotate", id(&key));
    Response::to(server.request(Method::POST, &path, &token).body("{}")).await.assert_problem(415);
    assert_eq!(server.dump().await, before);

    for valid in [json!({}), json!({ "grace_seconds": 0 }), json!({ "grace_seconds": 2_592_000.0 })] {
        assert_eq!(server.rotate(id(&key), &token, valid).await.status, 201);
    }
    let empty = create_key(&server, &token, json!({})).await;
    let path = format!("{KEYS}{}/rotate", id(&empty));
    let request = server.request(Method::POST, &path, &token).header("content-type", "application/json");
    assert_eq!(Response::to(request).await.status, 201, "no body, though its type is declared");
}
