//! Expiry: `expires_at` and `expires_in_seconds` of a create request.

use chrono::DateTime;
use serde_json::{Value, json};

use crate::support::{KEYS, Server, id};

async fn assert_rejected_at(pointer: &str, bodies: &[Value]) {
    let server = Server::start();
    let token = server.token("alice");
    for body in bodies {
        let response = server.create(&token, body.clone()).await;
        assert_eq!(response.status, 422, "{body}: {}", response.text);
        response.assert_problem(422);
        assert_eq!(response.pointers(), [pointer], "{body}");
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn create_with_past_or_malformed_expires_at_is_rejected() {
    let body = |value: Value| json!({ "name": "x", "expires_at": value });
    let bad = [
        json!("2020-01-01T00:00:00Z"),
        json!("1969-12-31T23:59:59Z"),
        json!("0001-01-01T00:00:00Z"),
        json!("tomorrow"),
        json!(""),
        json!("2030-01-01"),
        json!("2030-01-01T00:00:00"),
        json!("2030-02-30T00:00:00Z"),
        json!("2030-01-01T25:00:00Z"),
        json!("2030-01-01T00:00:00+25:00"),
        json!("Tue, 01 Jan 2030 00:00:00 GMT"),
        json!("10000-01-01T00:00:00Z"),
        json!("+10000-01-01T00:00:00Z"),
        json!("2030-06-30T12:00:60Z"),
        json!("2030-06-29T23:59:60Z"),
        json!("9999-12-31T23:59:60Z"),
        json!("9999-12-31T23:59:59-01:00"),
        json!(1_900_000_000),
        json!(true),
        json!([]),
        json!({}),
    ];
    assert_rejected_at("/expires_at", &bad.map(body)).await;
}

#[tokio::test]
async fn create_with_expiry_in_a_leap_second_has_the_second_after_it() {
    let server = Server::start();
    let token = server.token("alice");
    let body = json!({ "name": "x", "expires_at": "2030-06-30T23:59:60Z" });
    let created = server.create(&token, body).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let got = server.get(&format!("{KEYS}{}", id(&created.body)), &token).await;
    for key in [&created.body, &got.body] {
        assert_eq!(key["expires_at"], "2030-07-01T00:00:00Z");
    }
}

#[tokio::test]
async fn create_with_invalid_expires_in_seconds_is_rejected() {
    let body = |value: Value| json!({ "name": "x", "expires_in_seconds": value });
    let bad = [
        json!(0),
        json!(-1),
        json!(0.5),
        json!(1.5),
        json!("60"),
        json!(3_153_600_001_i64),
        json!(9_223_372_036_854_775_807_i64),
        json!(18_446_744_073_709_551_615_u64),
        json!(1e300),
        json!(true),
        json!([60]),
    ];
    assert_rejected_at("/expires_in_seconds", &bad.map(body)).await;
}

#[tokio::test]
async fn create_with_both_expiry_fields_is_rejected() {
    let body = json!({ "name": "x", "expires_at": "2040-01-01T00:00:00Z", "expires_in_seconds": 60 });
    assert_rejected_at("/expires_in_seconds", &[body]).await;
}

#[tokio::test]
async fn create_keeps_expires_at_in_utc_to_the_microsecond() {
    let server = Server::start();
    let token = server.token("alice");
    for (sent, kept) in [
        ("2040-01-01T00:00:00Z", "2040-01-01T00:00:00Z"),
        ("2040-01-01T02:00:00+02:00", "2040-01-01T00:00:00Z"),
        ("2040-01-01t00:00:00z", "2040-01-01T00:00:00Z"),
        ("2040-01-01T00:00:00.5Z", "2040-01-01T00:00:00.500Z"),
        ("2040-01-01T00:00:00.123456789Z", "2040-01-01T00:00:00.123456Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ] {
        let key = server.create_key_from(&token, json!({ "name": "x", "expires_at": sent })).await;
        assert_eq!(key["expires_at"], kept, "{sent}");
        let row = &server.rows("SELECT expires_at FROM api_keys ORDER BY id DESC LIMIT 1").await[0];
        let stored: DateTime<chrono::Utc> = row.try_get("", "expires_at").unwrap();
        assert_eq!(stored, DateTime::parse_from_rfc3339(kept).unwrap());
    }
    let key = server.create_key(&token, &[]).await;
    assert!(key.get("expires_at").is_none(), "{key}");
}

#[tokio::test]
async fn create_with_leap_second_expiry_works_or_is_rejected() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:write"]);
    let body = json!({ "name": "x", "scopes": ["api-keys:write"], "expires_at": "2040-06-30T23:59:60Z" });
    let response = server.create(&token, body).await;
    if response.status == 201 {
        let key = response.body["key"].as_str().unwrap();
        assert_eq!(server.create(key, json!({ "name": "made by it" })).await.status, 201);
    } else {
        response.assert_violations(&["/expires_at"]);
    }
}

#[tokio::test]
async fn create_counts_expires_in_seconds_from_creation() {
    let server = Server::start();
    let token = server.token("alice");
    for (sent, seconds) in [("1", 1), ("5.0", 5), ("6e1", 60), ("3153600000", 3_153_600_000)] {
        let response = server.create_raw(&token, format!(r#"{{"name":"x","expires_in_seconds":{sent}}}"#)).await;
        assert_eq!(response.status, 201, "{sent}: {}", response.text);
        let time = |member: &str| DateTime::parse_from_rfc3339(response.body[member].as_str().unwrap()).unwrap();
        assert_eq!((time("expires_at") - time("created_at")).num_seconds(), seconds, "{sent}: {}", response.text);
    }
    assert_eq!(server.counts().await, [4, 4, 4]);
}
