//! Usage: the number of verifications of a key by day and verdict, and the last use of its secrets.

mod writes;

use std::time::Duration;

use chrono::{DateTime, Days, Utc};
use mintkey::domain::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, database, eventually, id, secret, unknown_key};

const SOON: Duration = Duration::from_secs(10);
/// The reasons for a denial, as named in the response.
const REASONS: [&str; 4] = ["revoked", "disabled", "expired", "insufficient_scope"];

async fn usage(server: &Server, credential: &str, id: &str, query: &str) -> Response {
    server.get(&format!("{KEYS}{id}/usage{query}"), credential).await
}

/// The sums of allowed, then of denied in the order of [`REASONS`], over all days: midnight may pass during a test.
async fn counts(server: &Server, owner: &str, id: &str) -> [u64; 5] {
    let response = usage(server, owner, id, "").await;
    assert_eq!(response.status, 200, "{}", response.text);
    let mut counts = [0; 5];
    for day in response.body["days"].as_array().unwrap() {
        counts[0] += day["allowed"].as_u64().unwrap();
        for (reason, count) in REASONS.iter().zip(&mut counts[1..]) {
            *count += day["denied"][reason].as_u64().unwrap();
        }
    }
    counts
}

async fn assert_counts(server: &Server, owner: &str, key: &Value, expected: [u64; 5]) {
    eventually(SOON, &format!("{expected:?}"), async || {
        (counts(server, owner, id(key)).await == expected).then_some(())
    })
    .await;
}

async fn secret_uses(server: &Server, owner: &str, key: &Value) -> (Vec<Option<DateTime<Utc>>>, Value) {
    let shown = server.get(&format!("{KEYS}{}", id(key)), owner).await.body;
    let used = |secret: &Value| secret.get("last_used_at").map(|time| time.as_str().unwrap().parse().unwrap());
    let used = shown["secrets"].as_array().unwrap().iter().map(used).collect();
    (used, shown.get("safe_to_retire").cloned().unwrap_or_default())
}

struct Fixture {
    server: Server,
    gateway: String,
    alice: String,
}

fn fixture(server: Server) -> Fixture {
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let alice = server.token("alice");
    Fixture { server, gateway, alice }
}

#[tokio::test]
async fn usage_counts_each_verdict_within_seconds() {
    let Fixture { server, gateway, alice } = fixture(Server::start());
    let mut keys = Vec::new();
    for name in ["allowed", "revoked", "disabled", "expired", "insufficient"] {
        let lifetime = if name == "expired" { 1 } else { 3600 };
        keys.push(server.create_key_from(&alice, json!({ "name": name, "expires_in_seconds": lifetime })).await);
    }
    assert_eq!(counts(&server, &alice, id(&keys[0])).await, [0; 5]);
    assert_eq!(usage(&server, &alice, id(&keys[0]), "").await.body["days"], json!([]));
    assert_eq!(server.revoke(id(&keys[1]), &alice, Value::Null).await.status, 200);
    assert_eq!(server.patch(id(&keys[2]), &alice, json!({ "enabled": false })).await.status, 200);
    tokio::time::sleep(Duration::from_millis(1050)).await;
    let before = server.dump().await;
    for (nth, code) in ["VALID", "REVOKED", "DISABLED", "EXPIRED", "INSUFFICIENT_SCOPE"].into_iter().enumerate() {
        let scopes = if code == "INSUFFICIENT_SCOPE" { json!(["a"]) } else { json!([]) };
        let response = server.verify(&gateway, json!({ "key": secret(&keys[nth]), "scopes": scopes })).await;
        assert_eq!(response.body["code"], code);
    }
    for (nth, key) in keys.iter().enumerate() {
        let mut expected = [0; 5];
        expected[nth] = 1;
        assert_counts(&server, &alice, key, expected).await;
        let (used, _) = secret_uses(&server, &alice, key).await;
        assert_eq!(used.iter().any(Option::is_some), nth == 0, "a denied use is none");
    }
    assert_eq!(server.dump().await, before, "no key, secret or event is changed by it");
}

#[tokio::test]
async fn usage_day_has_date_and_every_count() {
    let Fixture { server, gateway, alice } = fixture(Server::start());
    let key = server.create_key(&alice, &[]).await;
    let day = || Clock::System.now().date_naive();
    let before = day();
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    assert_counts(&server, &alice, &key, [1, 0, 0, 0, 0]).await;
    let response = usage(&server, &alice, id(&key), "").await;
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let date: chrono::NaiveDate = response.body["days"][0]["date"].as_str().unwrap().parse().unwrap();
    assert!(before <= date && date <= day());
    let denied = json!({ "revoked": 0, "disabled": 0, "expired": 0, "insufficient_scope": 0 });
    let expected = json!([{ "date": date.to_string(), "allowed": 1, "denied": denied }]);
    assert_eq!(response.body["days"], expected);
    let (from, to) = (response.body["from"].as_str().unwrap(), response.body["to"].as_str().unwrap());
    let (from, to): (chrono::NaiveDate, chrono::NaiveDate) = (from.parse().unwrap(), to.parse().unwrap());
    assert!(before <= to && to <= day());
    assert_eq!(from + Days::new(29), to, "the last 30 days");
}

#[tokio::test]
async fn usage_is_written_at_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let Fixture { mut server, gateway, alice } = fixture(Server::start_in(directory.path(), &[]));
    let key = server.create_key(&alice, &["a"]).await;
    for n in 0..30 {
        let scopes = if n % 3 == 0 { json!(["b"]) } else { json!(["a"]) };
        assert_eq!(server.verify(&gateway, json!({ "key": secret(&key), "scopes": scopes })).await.status, 200);
    }
    assert_eq!(server.patch(id(&key), &alice, json!({ "enabled": false })).await.status, 200);
    for _ in 0..3 {
        assert_eq!(server.verify_code(&gateway, secret(&key)).await, "DISABLED");
    }
    assert_eq!(server.revoke(id(&key), &alice, Value::Null).await.status, 200);
    for _ in 0..4 {
        assert_eq!(server.verify_code(&gateway, secret(&key)).await, "REVOKED");
    }
    let last = server.create_key_from(&alice, json!({ "name": "last" })).await;
    let before = Clock::System.now();
    assert_eq!(server.verify_code(&gateway, secret(&last)).await, "VALID");
    assert!(server.terminate().success(), "{}", server.log());

    let server = Server::start_in(directory.path(), &[]);
    assert_eq!(counts(&server, &alice, id(&key)).await, [20, 4, 3, 0, 10]);
    assert_eq!(counts(&server, &alice, id(&last)).await, [1, 0, 0, 0, 0]);
    let used = secret_uses(&server, &alice, &last).await.0[0].unwrap();
    assert!(before <= used && used <= Clock::System.now(), "{used}");
}

#[tokio::test]
async fn usage_counts_all_ways_of_verification() {
    let directory = tempfile::tempdir().unwrap();
    let Fixture { mut server, gateway, alice } = fixture(Server::start_in(directory.path(), &[]));
    let key = server.create_key(&alice, &[]).await;
    let forward = |path| server.get(path, secret(&key));
    assert_eq!(forward("/api/auth/forward").await.status, 200);
    assert_eq!(forward("/api/auth/forward?required_scope=a").await.status, 403);
    let introspect = server.request(Method::POST, "/api/oauth/introspect", &gateway);
    let introspect = introspect.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(Response::to(introspect.body(format!("token={}", secret(&key)))).await.body["active"], true);
    assert_eq!(forward("/api/auth/api-keys/self").await.status, 200);
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    assert_eq!(server.verify_code(&gateway, "garbage").await, "NOT_FOUND");
    let revoke = server.request(Method::POST, "/api/oauth/revoke", "");
    let revoke = revoke.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(Response::to(revoke.body(format!("token={}", secret(&key)))).await.status, 200, "it counts as no use");
    assert!(server.terminate().success());
    let server = Server::start_in(directory.path(), &[]);
    assert_eq!(counts(&server, &alice, id(&key)).await, [4, 0, 0, 0, 1]);
}

#[tokio::test]
async fn usage_of_secrets_decides_safe_to_retire() {
    let Fixture { server, gateway, alice } = fixture(Server::start());
    for old_is_used in [false, true] {
        let key = server.create_key(&alice, &["a"]).await;
        let new = server.rotate(id(&key), &alice, json!({ "grace_seconds": 3600 })).await.body;
        assert_eq!(secret_uses(&server, &alice, &key).await, (vec![None, None], json!(false)));
        let before = Clock::System.now();
        if old_is_used {
            assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
        } else {
            // A denied verification does not count as a use of the old secret.
            let response = server.verify(&gateway, json!({ "key": secret(&key), "scopes": ["b"] })).await;
            assert_eq!(response.body["code"], "INSUFFICIENT_SCOPE");
        }
        assert_eq!(server.verify_code(&gateway, secret(&new)).await, "VALID");
        let after = Clock::System.now();
        let written = async || {
            let (used, safe) = secret_uses(&server, &alice, &key).await;
            (used[0].is_some() && used[1].is_some() == old_is_used).then_some((used, safe))
        };
        let (used, safe) = eventually(SOON, "the secrets' last uses", written).await;
        assert!(used.iter().flatten().all(|used| before <= *used && *used <= after), "{used:?}");
        assert_eq!(safe, json!(!old_is_used));
    }
}

#[tokio::test]
async fn usage_range_includes_both_ends() {
    let Fixture { server, alice, .. } = fixture(Server::start());
    let key = server.create_key(&alice, &[]).await;
    let today = Clock::System.now().date_naive();
    let row = |day: &str, verdict: &str, count: u32| {
        format!("INSERT INTO key_usage VALUES ({}, '{day}', '{verdict}', {count});", database::uuid(id(&key)))
    };
    let mut rows = row("2025-01-31", "VALID", 1) + &row("2025-02-01", "VALID", 2) + &row("2025-02-01", "REVOKED", 3);
    rows += &(row("2025-02-02", "EXPIRED", 4) + &row("2023-01-01", "VALID", 5));
    for ago in [0, 29, 30] {
        rows += &row(&(today - Days::new(ago)).to_string(), "VALID", 1000);
    }
    server.execute(&rows).await;
    let days = async |query: &str| {
        let response = usage(&server, &alice, id(&key), query).await;
        assert_eq!(response.status, 200, "{query}: {}", response.text);
        let days = response.body["days"].as_array().unwrap().clone();
        let days: Vec<_> = days.iter().map(|day| day["date"].as_str().unwrap().to_owned()).collect();
        (days, response.body)
    };
    let february = days("?from=2025-02-01&to=2025-02-01").await;
    assert_eq!(february.0, ["2025-02-01"]);
    assert_eq!((&february.1["from"], &february.1["to"]), (&json!("2025-02-01"), &json!("2025-02-01")));
    assert_eq!(february.1["days"][0]["allowed"], 2);
    assert_eq!(february.1["days"][0]["denied"]["revoked"], 3);
    let all_three = ["2025-01-31", "2025-02-01", "2025-02-02"];
    assert_eq!(days("?from=2025-01-31&to=2025-02-02").await.0, all_three);
    assert_eq!(days("?to=2025-02-02").await.0, all_three, "30 days that end there");
    assert!(days("?from=2025-02-03&to=2025-02-28").await.0.is_empty());
    assert!(days("?from=2025-02-02&to=2025-01-31").await.0.is_empty());
    assert_eq!(days("").await.0, [(today - Days::new(29)).to_string(), today.to_string()]);
    let (shown, body) = days("?from=0001-01-01&to=2025-02-02").await;
    assert_eq!((&*shown, &body["from"]), (&all_three.map(String::from)[..], &json!("2024-02-03")), "366 days");
    assert_eq!(days(&format!("?from={}", today - Days::new(30))).await.0.len(), 3);
}

#[tokio::test]
async fn usage_with_invalid_date_is_rejected() {
    let Fixture { server, alice, .. } = fixture(Server::start());
    let key = server.create_key(&alice, &[]).await;
    for query in [
        "from=yesterday",
        "from=",
        "to=2025-02-29",
        "to=2025-13-01",
        "to=2025-02-01T00:00:00Z",
        "to=20250201",
        "to=2025-2-1",
        "to=%2B2025-02-01",
        "to=-2025-02-01",
        "to=%202025-02-01",
        "to=12025-02-01",
        "from=2025-02-01&from=2025-02-01",
        "day=2025-02-01",
        "limit=1",
    ] {
        let response = usage(&server, &alice, id(&key), &format!("?{query}")).await;
        assert_eq!(response.status, 400, "{query}: {}", response.text);
        response.assert_problem(400);
    }
    for valid in ["from=0001-01-01&to=9999-12-31", "to=0001-01-01", "to=0000-01-01"] {
        assert_eq!(usage(&server, &alice, id(&key), &format!("?{valid}")).await.status, 200, "{valid}");
    }
}

#[tokio::test]
async fn usage_requires_owner_or_read_scope() {
    let Fixture { server, gateway, .. } = fixture(Server::start());
    let alice = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write"]);
    let key = server.create_key(&alice, &[]).await;
    let reader = server.create_key_from(&alice, json!({ "name": "r", "scopes": ["api-keys:read"] })).await;
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    assert_eq!(usage(&server, secret(&reader), id(&key), "").await.status, 200);
    for stranger in ["bob", "gateway"] {
        let stranger = server.token(stranger);
        let (foreign, absent) =
            (usage(&server, &stranger, id(&key), "").await, usage(&server, &stranger, &unknown_key(), "").await);
        assert_eq!(foreign.assert_problem(404), absent.assert_problem(404));
    }
    usage(&server, secret(&key), id(&key), "").await.assert_problem(403);
    usage(&server, "", id(&key), "").await.assert_problem(401);
    usage(&server, &alice, "not-an-id", "").await.assert_problem(404);
    assert_eq!(server.delete(id(&key), &alice).await.status, 204);
    usage(&server, &alice, id(&key), "").await.assert_problem(404);
}
