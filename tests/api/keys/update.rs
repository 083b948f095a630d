//! Update: a JSON Merge Patch of a key (RFC 7396).

mod by_keys;
mod effects;
mod restores;

use reqwest::Method;
use serde_json::{Value, json};

use super::{alice, get, malformed_ids};
use crate::support::{KEYS, Response, Server, id, unknown_key};

async fn patch(server: &Server, token: &str, key: &Value, body: Value) -> Response {
    let response = server.patch(id(key), token, body).await;
    assert_eq!(response.status, 200, "{}", response.text);
    response
}

#[tokio::test]
async fn update_is_returned_stored_and_audited() {
    let (server, token) = alice().await;
    let key = server.create_key_from(&token, json!({ "name": "before", "scopes": ["a"] })).await;
    let before = get(&server, &token, &key).await;
    let change = json!({
        "name": " after ", "scopes": ["b", "a"], "metadata": { "m": 1 }, "expires_at": "2040-01-01T02:00:00+02:00",
    });
    let response = patch(&server, &token, &key, change).await;
    assert_eq!(response.body["name"], "after");
    assert_eq!(response.body["scopes"], json!(["b", "a"]));
    assert_eq!(response.body["metadata"], json!({ "m": 1 }));
    assert_eq!(response.body["expires_at"], "2040-01-01T00:00:00Z");
    for same in ["id", "created_at", "start", "last4", "owner", "enabled", "secrets"] {
        assert_eq!(response.body[same], before.body[same], "{same}");
    }
    assert!(response.body["updated_at"].as_str() > before.body["updated_at"].as_str());
    assert_ne!(response.etag(), before.etag());
    let got = get(&server, &token, &key).await;
    assert_eq!((got.etag(), &got.text), (response.etag(), &response.text));

    assert_eq!(server.audit_actions(id(&key)).await, ["created", "updated"]);
    let event = &server.rows("SELECT changes FROM audit_events WHERE action = 'updated'").await[0];
    let changes: Value = serde_json::from_str(&event.try_get::<String>("", "changes").unwrap()).unwrap();
    assert_eq!(changes["name"], "after");
    assert_eq!(changes["scopes"], json!(["b", "a"]));
    assert_eq!(changes["expires_at"], "2040-01-01T00:00:00Z");
    assert_eq!(server.get(&format!("{KEYS}?q=after"), &token).await.body["items"][0]["id"], key["id"]);
    assert_eq!(server.get(&format!("{KEYS}?q=before"), &token).await.body["items"], json!([]));
}

#[tokio::test]
async fn update_clears_null_and_keeps_absent_fields() {
    let (server, token) = alice().await;
    let body = json!({ "name": "x", "scopes": ["a"], "metadata": { "m": 1 }, "expires_in_seconds": 3600 });
    let key = server.create_key_from(&token, body).await;
    let kept = |response: &Response, members: &[&str]| {
        for member in members {
            assert_eq!(response.body.get(member), key.get(member), "{member}: {}", response.text);
        }
    };
    let response = patch(&server, &token, &key, json!({ "scopes": null })).await;
    assert_eq!(response.body["scopes"], json!([]));
    kept(&response, &["name", "metadata", "expires_at"]);
    let response = patch(&server, &token, &key, json!({ "metadata": null })).await;
    assert_eq!(response.body["metadata"], json!({}));
    kept(&response, &["name", "expires_at"]);
    let response = patch(&server, &token, &key, json!({ "expires_at": null })).await;
    assert!(response.body.get("expires_at").is_none(), "{}", response.text);
    kept(&response, &["name"]);
    let row = &server.rows("SELECT scopes, metadata, expires_at FROM api_keys").await[0];
    assert_eq!(row.try_get::<String>("", "scopes").unwrap(), "[]");
    assert_eq!(row.try_get::<String>("", "metadata").unwrap(), "{}");
    assert_eq!(row.try_get::<Option<String>>("", "expires_at").unwrap(), None);
}

#[tokio::test]
async fn update_merges_metadata_at_any_depth() {
    let (server, token) = alice().await;
    let metadata = json!({ "a": { "b": 1, "c": { "d": 2 } }, "list": [1, 2], "x": null });
    let key = server.create_key_from(&token, json!({ "name": "x", "metadata": metadata })).await;
    for (change, result) in [
        (json!({}), metadata.clone()),
        (
            json!({ "a": { "c": { "e": 3 } } }),
            json!({ "a": { "b": 1, "c": { "d": 2, "e": 3 } }, "list": [1, 2], "x": null }),
        ),
        (json!({ "a": { "b": null }, "x": null }), json!({ "a": { "c": { "d": 2, "e": 3 } }, "list": [1, 2] })),
        (
            json!({ "list": { "n": { "gone": null } } }),
            json!({ "a": { "c": { "d": 2, "e": 3 } }, "list": { "n": {} } }),
        ),
        (json!({ "a": 5, "list": null, "absent": null }), json!({ "a": 5 })),
    ] {
        let response = patch(&server, &token, &key, json!({ "metadata": change })).await;
        assert_eq!(response.body["metadata"], result);
    }
}

#[tokio::test]
async fn update_with_metadata_over_4096_bytes_is_rejected() {
    let (server, token) = alice().await;
    let key = server.create_key_from(&token, json!({ "name": "x", "metadata": { "a": "x".repeat(3000) } })).await;
    let room = 4096 - json!({ "a": "x".repeat(3000), "b": "" }).to_string().len();
    let before = server.dump().await;
    let response = server.patch(id(&key), &token, json!({ "metadata": { "b": "y".repeat(room + 1) } })).await;
    response.assert_violations(&["/metadata"]);
    assert_eq!(server.dump().await, before);
    patch(&server, &token, &key, json!({ "metadata": { "b": "y".repeat(room) } })).await;
    patch(&server, &token, &key, json!({ "metadata": { "a": null, "c": "z".repeat(2900) } })).await;
}

#[tokio::test]
async fn update_with_invalid_field_is_rejected_at_its_pointer() {
    let (server, token) = alice().await;
    let key = server.create_key(&token, &["a"]).await;
    let before = server.dump().await;
    for (body, pointers) in [
        (json!({ "name": null }), vec!["/name"]),
        (json!({ "name": " " }), vec!["/name"]),
        (json!({ "name": "a\u{202e}" }), vec!["/name"]),
        (json!({ "enabled": null }), vec!["/enabled"]),
        (json!({ "enabled": "true" }), vec!["/enabled"]),
        (json!({ "enabled": 0 }), vec!["/enabled"]),
        (json!({ "scopes": ["a\"b"] }), vec!["/scopes/0"]),
        (json!({ "scopes": ["a", "a"] }), vec!["/scopes"]),
        (json!({ "metadata": [] }), vec!["/metadata"]),
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), vec!["/expires_at"]),
        (json!({ "expires_at": "soon" }), vec!["/expires_at"]),
        (json!({ "expires_in_seconds": 5 }), vec!["/expires_in_seconds"]),
        (json!({ "id": "x", "key": "y" }), vec!["/id", "/key"]),
        (json!({ "name": "fine", "owner": "bob" }), vec!["/owner"]),
        (json!({ "name": 5, "enabled": 5, "scopes": 5 }), vec!["/enabled", "/name", "/scopes"]),
    ] {
        let response = server.patch(id(&key), &token, body.clone()).await;
        response.assert_problem(422);
        let mut found = response.pointers();
        found.sort_unstable();
        assert_eq!(found, pointers, "{body}: {}", response.text);
    }
    for (body, status) in [("[]", 400), ("null", 400), ("", 400), ("{", 400), (r#"{"name":"a","name":"b"}"#, 422)] {
        let request = server.request(Method::PATCH, &format!("{KEYS}{}", id(&key)), &token);
        Response::to(request.header("content-type", "application/json").body(body)).await.assert_problem(status);
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn update_accepts_json_and_merge_patch_media_types() {
    let (server, token) = alice().await;
    let key = server.create_key(&token, &[]).await;
    for (media_type, status) in [
        ("application/json", 200),
        ("application/merge-patch+json", 200),
        ("Application/Merge-Patch+JSON; charset=utf-8", 200),
        ("application/json-patch+json", 415),
        ("text/plain", 415),
        ("", 415),
    ] {
        let mut request = server.request(Method::PATCH, &format!("{KEYS}{}", id(&key)), &token);
        if !media_type.is_empty() {
            request = request.header("content-type", media_type);
        }
        let response = Response::to(request.body(json!({ "name": format!("by {media_type}") }).to_string())).await;
        assert_eq!(response.status, status, "{media_type}: {}", response.text);
    }
    let merge = server.request(Method::POST, KEYS, &token).header("content-type", "application/merge-patch+json");
    Response::to(merge.body(r#"{"name":"x"}"#)).await.assert_problem(415);
}

#[tokio::test]
async fn update_without_change_keeps_etag_and_audit() {
    let (server, token) = alice().await;
    let body =
        json!({ "name": "x", "scopes": ["a"], "metadata": { "m": { "n": 1 } }, "expires_at": "2040-01-01T00:00:00Z" });
    let key = server.create_key_from(&token, body.clone()).await;
    let (before, tag) = (server.dump().await, get(&server, &token, &key).await);
    for same in [
        json!({}),
        body,
        json!({ "enabled": true, "metadata": {} }),
        json!({ "metadata": { "m": { "o": null }, "p": null }, "name": "  x " }),
        json!({ "expires_at": "2040-01-01T01:00:00+01:00" }),
    ] {
        let response = patch(&server, &token, &key, same).await;
        assert_eq!((response.etag(), &response.text), (tag.etag(), &tag.text));
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn update_with_malformed_id_matches_unknown_id() {
    let (server, token) = alice().await;
    let absent = server.patch(&unknown_key(), &token, json!({ "name": "y" })).await;
    let detail = absent.assert_problem(404);
    for malformed in malformed_ids() {
        let response = server.patch(&malformed, &token, json!({ "name": "y" })).await;
        assert_eq!(response.assert_problem(404), detail, "{malformed}");
    }
}
