//! Verify: the verdict on a key, the order of the reasons for a denial, and that every change takes effect at once.

mod cache;
mod requests;

use std::time::Duration;

use chrono::{DateTime, Utc};
use mintkey::domain::clock::Clock;
use mintkey::domain::secret::{Entropy, Secret};
use serde_json::{Value, json};

use crate::support::{KEYS, Server, id, secret};

const GATEWAY: &[&str] = &["--scopes", "api-keys:verify"];

/// A server, the token of a gateway that verifies, and the token of alice, who owns the keys.
fn gateway() -> (Server, String, String) {
    let server = Server::start();
    let gateway = server.token_with("gateway", GATEWAY);
    let alice = server.token_with("alice", &["--organization", "acme"]);
    (server, gateway, alice)
}

/// Checks the whole response, byte for byte.
async fn assert_denied(server: &Server, gateway: &str, body: Value, code: &str) {
    let response = server.verify(gateway, body).await;
    assert_eq!(response.status, 200, "{}", response.text);
    assert_eq!(response.text, format!(r#"{{"valid":false,"code":"{code}"}}"#));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("www-authenticate"), None);
}

fn unknown_secret() -> String {
    Secret::mint(&"mk".parse().unwrap(), &Entropy::fixed([7; 32]), DateTime::UNIX_EPOCH).expose().to_owned()
}

#[tokio::test]
async fn verify_describes_valid_key_of_any_owner() {
    let (server, gateway, alice) = gateway();
    let body = json!({
        "name": "build bot",
        "scopes": ["projects:read", "projects:write"],
        "metadata": { "team": "billing", "deep": { "list": [1, "zwei", null] } },
        "expires_at": "2040-01-01T00:00:00Z",
    });
    let key = server.create_key_from(&alice, body).await;
    let before = server.dump().await;
    let response = server.verify(&gateway, json!({ "key": secret(&key), "scopes": ["projects:write"] })).await;
    assert_eq!(response.status, 200, "{}", response.text);
    let expected = json!({
        "valid": true,
        "code": "VALID",
        "id": key["id"],
        "name": "build bot",
        "owner": { "issuer": "urn:mintkey:standalone", "subject": "alice", "organization": "acme" },
        "scopes": ["projects:read", "projects:write"],
        "metadata": { "team": "billing", "deep": { "list": [1, "zwei", null] } },
        "expires_at": "2040-01-01T00:00:00Z",
    });
    assert_eq!(response.body, expected);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert!(response.header("x-request-id").is_some());
    assert!(!response.text.contains(secret(&key)));
    assert_eq!(server.dump().await, before, "verification changes nothing");
}

#[tokio::test]
async fn verify_omits_absent_fields() {
    let (server, gateway, _) = gateway();
    let key = server.create_key_from(&server.token("bob"), json!({ "name": "plain" })).await;
    let response = server.verify(&gateway, json!({ "key": secret(&key) })).await;
    let expected = json!({
        "valid": true,
        "code": "VALID",
        "id": key["id"],
        "name": "plain",
        "owner": { "issuer": "urn:mintkey:standalone", "subject": "bob" },
        "scopes": [],
        "metadata": {},
    });
    assert_eq!(response.body, expected);
}

#[tokio::test]
async fn verify_returns_same_response_from_store_and_cache() {
    let (server, gateway, alice) = gateway();
    let body = json!({ "name": "é \"k\" \\", "scopes": ["b:2", "a:1"], "metadata": { "z": 1, "a": [] } });
    let key = server.create_key_from(&alice, body).await;
    for request in [secret(&key), &unknown_secret()] {
        let first = server.verify(&gateway, json!({ "key": request })).await;
        for _ in 0..5 {
            let again = server.verify(&gateway, json!({ "key": request })).await;
            assert_eq!((again.status, &again.text), (first.status, &first.text));
            assert_eq!(again.header("content-type"), first.header("content-type"));
        }
    }
}

#[tokio::test]
async fn verify_of_unknown_secret_is_not_found() {
    let (server, gateway, alice) = gateway();
    let key = server.create_key(&alice, &[]).await;
    let good = secret(&key);
    assert_eq!(server.verify_code(&gateway, good).await, "VALID");
    let last = if good.ends_with('0') { '1' } else { '0' };
    for bad in [
        String::new(),
        " ".to_owned(),
        "garbage".to_owned(),
        "ключ".to_owned(),
        "\0".to_owned(),
        unknown_secret(),
        format!("{}{last}", &good[..good.len() - 1]),
        good[..good.len() - 1].to_owned(),
        format!("{good}0"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("Bearer {good}"),
        good.to_uppercase(),
        good.replacen("mk_", "mk2_", 1),
        good.replacen("mk_", "", 1),
        alice.clone(),
        id(&key).to_owned(),
        "x".repeat(60_000),
    ] {
        assert_denied(&server, &gateway, json!({ "key": bad }), "NOT_FOUND").await;
        assert_denied(&server, &gateway, json!({ "key": bad, "scopes": ["a"] }), "NOT_FOUND").await;
    }
    assert_eq!(server.verify_code(&gateway, good).await, "VALID");
}

#[tokio::test]
async fn verify_requires_all_scopes_exactly() {
    let (server, gateway, alice) = gateway();
    let key = server.create_key(&alice, &["projects:read", "files:*", "x"]).await;
    for held in [json!([]), json!(["x"]), json!(["x", "projects:read"]), json!(["files:*"])] {
        let response = server.verify(&gateway, json!({ "key": secret(&key), "scopes": held })).await;
        assert_eq!((response.status.as_u16(), &response.body["code"]), (200, &json!("VALID")), "{held}");
        assert_eq!(response.body["scopes"], json!(["projects:read", "files:*", "x"]), "those of the key");
    }
    for lacked in
        [json!(["projects:write"]), json!(["x", "y"]), json!(["files:read"]), json!(["projects"]), json!(["*"])]
    {
        let body = json!({ "key": secret(&key), "scopes": lacked });
        assert_denied(&server, &gateway, body, "INSUFFICIENT_SCOPE").await;
    }
}

#[tokio::test]
async fn verify_takes_scopes_of_other_services_exactly() {
    let (server, gateway, alice) = gateway();
    let held = ["User.Read", "https://api.example.com/orders", "server/scope", "a+b", "x,y;z", "{'%|~}"];
    let key = server.create_key(&alice, &held).await;
    for scope in held {
        for body in [json!({ "scopes": [scope] }), json!({ "any_of": ["other", scope] })] {
            let mut body = body;
            body["key"] = secret(&key).into();
            let response = server.verify(&gateway, body).await;
            assert_eq!((response.status.as_u16(), &response.body["code"]), (200, &json!("VALID")), "{scope}");
            assert_eq!(response.body["scopes"], json!(held));
        }
    }
    for other in ["user.read", "User.read", "https://api.example.com/order", "server", "a", "x", "User.*", "*"] {
        for body in [json!({ "scopes": [other] }), json!({ "any_of": [other] })] {
            let mut body = body;
            body["key"] = secret(&key).into();
            assert_denied(&server, &gateway, body, "INSUFFICIENT_SCOPE").await;
        }
    }
}

#[tokio::test]
async fn verify_with_any_of_requires_one_of_them_and_all_scopes() {
    let (server, gateway, alice) = gateway();
    let key = server.create_key(&alice, &["a", "b"]).await;
    for (scopes, any_of) in [
        (json!([]), json!(["a"])),
        (json!([]), json!(["x", "b"])),
        (json!(["a"]), json!(["b", "x"])),
        (json!(["a"]), json!(["a"])),
    ] {
        let body = json!({ "key": secret(&key), "scopes": scopes, "any_of": any_of });
        let response = server.verify(&gateway, body).await;
        assert_eq!((response.status.as_u16(), &response.body["code"]), (200, &json!("VALID")), "{scopes} {any_of}");
    }
    for (scopes, any_of) in [
        (json!([]), json!(["x"])),
        (json!([]), json!(["x", "y"])),
        (json!(["a", "b"]), json!(["x"])),
        (json!(["x"]), json!(["a"])),
    ] {
        let body = json!({ "key": secret(&key), "scopes": scopes, "any_of": any_of });
        assert_denied(&server, &gateway, body, "INSUFFICIENT_SCOPE").await;
    }
}

#[tokio::test]
async fn verify_returns_first_reason_in_order() {
    let (server, gateway, alice) = gateway();
    let body = json!({ "name": "k", "scopes": ["a"], "expires_in_seconds": 3600 });
    let key = server.create_key_from(&alice, body).await;
    let request = json!({ "key": secret(&key), "scopes": ["b"] });
    let now = || Clock::System.now();
    assert_denied(&server, &gateway, request.clone(), "INSUFFICIENT_SCOPE").await;

    let soon = (now() + Duration::from_millis(500)).to_rfc3339();
    assert_eq!(server.patch(id(&key), &alice, json!({ "expires_at": soon })).await.status, 200);
    tokio::time::sleep(Duration::from_millis(520)).await;
    assert_denied(&server, &gateway, request.clone(), "EXPIRED").await;

    assert_eq!(server.patch(id(&key), &alice, json!({ "enabled": false })).await.status, 200);
    assert_denied(&server, &gateway, request.clone(), "DISABLED").await;
    assert_eq!(server.patch(id(&key), &alice, json!({ "enabled": true })).await.status, 200);
    assert_denied(&server, &gateway, request.clone(), "EXPIRED").await;
    assert_eq!(server.patch(id(&key), &alice, json!({ "expires_at": null })).await.status, 200);
    assert_denied(&server, &gateway, request.clone(), "INSUFFICIENT_SCOPE").await;

    // All at once: expired, disabled and revoked, and no scope.
    let soon = (now() + Duration::from_millis(500)).to_rfc3339();
    assert_eq!(server.patch(id(&key), &alice, json!({ "expires_at": soon, "enabled": false })).await.status, 200);
    tokio::time::sleep(Duration::from_millis(520)).await;
    assert_denied(&server, &gateway, request.clone(), "DISABLED").await;
    assert_eq!(server.revoke(id(&key), &alice, Value::Null).await.status, 200);
    assert_denied(&server, &gateway, request, "REVOKED").await;
    assert_denied(&server, &gateway, json!({ "key": secret(&key) }), "REVOKED").await;
}

#[tokio::test]
async fn verify_of_deleted_key_is_revoked() {
    let (server, gateway, alice) = gateway();
    let key = server.create_key(&alice, &[]).await;
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    assert_eq!(server.delete(id(&key), &alice).await.status, 204);
    assert_denied(&server, &gateway, json!({ "key": secret(&key) }), "REVOKED").await;
}

/// Checks that the secret is valid in every response before the instant, and expired in every request from it on.
async fn assert_expires_at(server: &Server, gateway: &str, secret: &str, end: DateTime<Utc>) {
    let now = || Clock::System.now();
    let mut valid = 0;
    loop {
        let begun = now();
        let code = server.verify_code(gateway, secret).await;
        match &*code {
            "VALID" => assert!(begun < end, "valid after {end}"),
            _ => assert!(code == "EXPIRED" && now() >= end, "{code} before {end}"),
        }
        if begun >= end {
            break;
        }
        valid += usize::from(code == "VALID");
    }
    assert!(valid > 0, "never valid before {end}");
    assert_denied(server, gateway, json!({ "key": secret }), "EXPIRED").await;
}

#[tokio::test]
async fn verify_expires_cached_key_at_its_instant() {
    let (server, gateway, alice) = gateway();
    let key = server.create_key_from(&alice, json!({ "name": "k", "expires_in_seconds": 1 })).await;
    let end = key["expires_at"].as_str().unwrap().parse().unwrap();
    assert_expires_at(&server, &gateway, secret(&key), end).await;
}

#[tokio::test]
async fn verify_expires_old_secret_after_grace() {
    let (server, gateway, alice) = gateway();
    let key = server.create_key(&alice, &[]).await;
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    let new = server.rotate(id(&key), &alice, json!({ "grace_seconds": 1 })).await.body;
    assert_eq!(server.verify_code(&gateway, secret(&new)).await, "VALID");
    let shown = server.get(&format!("{KEYS}{}", id(&key)), &alice).await;
    let end = shown.body["secrets"][1]["expires_at"].as_str().unwrap().parse().unwrap();
    assert_expires_at(&server, &gateway, secret(&key), end).await;
    assert_eq!(server.verify_code(&gateway, secret(&new)).await, "VALID");
}

#[tokio::test]
async fn verify_expires_at_is_end_of_presented_secret() {
    let (server, gateway, alice) = gateway();
    for (key_ends, old_secret_ends_with_key) in [(None, false), (Some(60), true), (Some(7200), false)] {
        let mut body = json!({ "name": "k" });
        if let Some(seconds) = key_ends {
            body["expires_in_seconds"] = json!(seconds);
        }
        let key = server.create_key_from(&alice, body).await;
        let new = server.rotate(id(&key), &alice, json!({ "grace_seconds": 3600 })).await.body;
        let shown = server.get(&format!("{KEYS}{}", id(&key)), &alice).await.body;
        let end = &shown["secrets"][1]["expires_at"];
        assert!(end.is_string() && (end == &shown["expires_at"]) == old_secret_ends_with_key, "{shown}");
        let old = server.verify(&gateway, json!({ "key": secret(&key) })).await.body;
        assert_eq!((&old["valid"], &old["expires_at"]), (&json!(true), end), "{old}");
        let current = server.verify(&gateway, json!({ "key": secret(&new) })).await.body;
        assert_eq!((&current["valid"], current.get("expires_at")), (&json!(true), key.get("expires_at")), "{current}");
    }
}

#[tokio::test]
async fn verify_sees_change_at_next_request() {
    let (server, gateway, alice) = gateway();
    let key = server.create_key_from(&alice, json!({ "name": "old", "scopes": ["a"] })).await;
    let request = json!({ "key": secret(&key), "scopes": ["a"] });
    for round in 0..20 {
        let name = format!("name {round}");
        let (scopes, code) = if round % 2 == 0 { (["b"], "INSUFFICIENT_SCOPE") } else { (["a"], "VALID") };
        let patch = json!({ "name": name, "scopes": scopes, "metadata": { "round": round } });
        assert_eq!(server.patch(id(&key), &alice, patch).await.status, 200);
        assert_eq!(server.verify(&gateway, request.clone()).await.body["code"], code, "round {round}");
        let seen = server.verify(&gateway, json!({ "key": secret(&key) })).await.body;
        assert_eq!((&seen["name"], &seen["scopes"]), (&json!(name), &json!(scopes)), "{seen}");
        assert_eq!(seen["metadata"], json!({ "round": round }));
    }
    let expiry = json!({ "expires_at": "2041-01-01T00:00:00Z" });
    assert_eq!(server.patch(id(&key), &alice, expiry).await.status, 200);
    let seen = server.verify(&gateway, request).await.body;
    assert_eq!(seen["expires_at"], "2041-01-01T00:00:00Z");
}
