//! Get and update: a key as it is, a merge patch of it (RFC 7396), and what becomes of two who change it at once.

mod effects;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::support::{Answer, KEYS, Server, id, nobodys, secret};

async fn alice() -> (Server, String) {
    let server = Server::start();
    let token = server.token("alice");
    (server, token)
}

async fn get(server: &Server, token: &str, key: &Value) -> Answer {
    let answer = server.get(&format!("{KEYS}{}", id(key)), token).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

async fn patch(server: &Server, token: &str, key: &Value, body: Value) -> Answer {
    let answer = server.patch(id(key), token, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
}

async fn matching(server: &Server, method: Method, token: &str, key: &Value, tags: &[&str]) -> Answer {
    let mut request = server.request(method.clone(), &format!("{KEYS}{}", id(key)), token);
    for tag in tags {
        request = request.header("if-match", HeaderValue::from_bytes(tag.as_bytes()).unwrap());
    }
    let body = json!({ "metadata": { "tag": tags[0] } });
    Answer::of(if method == Method::PATCH { request.json(&body) } else { request }).await
}

#[tokio::test]
async fn a_key_is_shown_whole_but_for_its_secret() {
    let server = Server::start();
    let token = server.token_with("alice", &["--organization", "acme"]);
    let body =
        json!({ "name": "é", "scopes": ["b", "a"], "metadata": { "z": 1, "a": null }, "expires_in_seconds": 60 });
    let key = server.key(&token, body).await;
    let answer = get(&server, &token, &key).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    for member in ["id", "name", "scopes", "metadata", "created_at", "expires_at", "start", "last4"] {
        assert_eq!(answer.body[member], key[member], "{member}");
    }
    assert_eq!(answer.body["updated_at"], key["created_at"]);
    assert_eq!((&answer.body["status"], &answer.body["enabled"]), (&json!("active"), &json!(true)));
    let owner = json!({ "issuer": "urn:mintkey:standalone", "subject": "alice", "organization": "acme" });
    assert_eq!(answer.body["owner"], owner);
    for absent in ["key", "revoked_at", "revoked_by", "revoke_reason", "deleted_at", "safe_to_retire"] {
        assert!(answer.body.get(absent).is_none(), "{absent}");
    }
    let shown = json!([{ "start": key["start"], "last4": key["last4"], "created_at": key["created_at"] }]);
    assert_eq!(answer.body["secrets"], shown);
    assert!(!answer.text.contains(&secret(&key)[7..48]));
    assert_eq!(get(&server, &token, &key).await.etag(), answer.etag());
}

#[tokio::test]
async fn ids_that_cannot_be_are_answered_like_ids_that_are_not() {
    let (server, token) = alice().await;
    let key = server.key(&token, json!({ "name": "x" })).await;
    let absent = server.get(&format!("{KEYS}{}", nobodys()), &token).await;
    let detail = absent.problem(404).to_owned();
    for odd in ["x", "0", "00000000-0000-0000-0000-000000000000", "%00", "%ff", "..%2f", &"a".repeat(300)] {
        assert_eq!(server.get(&format!("{KEYS}{odd}"), &token).await.problem(404), detail, "{odd}");
        assert_eq!(server.patch(odd, &token, json!({ "name": "y" })).await.problem(404), detail, "{odd}");
    }
    server.get(&format!("{KEYS}{}?x=1", id(&key)), &token).await.problem(400);
}

#[tokio::test]
async fn a_key_reads_and_changes_with_the_scope_for_it() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write"]);
    let target = server.key(&token, json!({ "name": "x" })).await;
    for (scope, read, write) in [("api-keys:read", 200, 403), ("api-keys:write", 403, 200), ("a", 403, 403)] {
        let caller = server.key(&token, json!({ "name": "c", "scopes": [scope] })).await;
        let got = server.get(&format!("{KEYS}{}", id(&target)), secret(&caller)).await;
        let patched = server.patch(id(&target), secret(&caller), json!({ "name": scope })).await;
        assert_eq!((got.status.as_u16(), patched.status.as_u16()), (read, write), "{scope}");
        for (answer, lacks) in [(got, "api-keys:read"), (patched, "api-keys:write")] {
            let challenge = format!(r#"Bearer error="insufficient_scope", scope="{lacks}""#);
            let expected = (answer.status == 403).then_some(&*challenge);
            assert_eq!(answer.header("www-authenticate"), expected);
        }
    }
    assert_eq!(server.actions(id(&target)).await, ["created", "updated"]);
}

#[tokio::test]
async fn a_change_is_answered_kept_and_told_of() {
    let (server, token) = alice().await;
    let key = server.key(&token, json!({ "name": "before", "scopes": ["a"] })).await;
    let before = get(&server, &token, &key).await;
    let change = json!({
        "name": " after ", "scopes": ["b", "a"], "metadata": { "m": 1 }, "expires_at": "2040-01-01T02:00:00+02:00",
    });
    let answer = patch(&server, &token, &key, change).await;
    assert_eq!(answer.body["name"], "after");
    assert_eq!(answer.body["scopes"], json!(["b", "a"]));
    assert_eq!(answer.body["metadata"], json!({ "m": 1 }));
    assert_eq!(answer.body["expires_at"], "2040-01-01T00:00:00Z");
    for same in ["id", "created_at", "start", "last4", "owner", "enabled", "secrets"] {
        assert_eq!(answer.body[same], before.body[same], "{same}");
    }
    assert!(answer.body["updated_at"].as_str() > before.body["updated_at"].as_str());
    assert_ne!(answer.etag(), before.etag());
    let got = get(&server, &token, &key).await;
    assert_eq!((got.etag(), &got.text), (answer.etag(), &answer.text));

    assert_eq!(server.actions(id(&key)).await, ["created", "updated"]);
    let event = &server.rows("SELECT changes FROM audit_events WHERE action = 'updated'").await[0];
    let changes: Value = serde_json::from_str(&event.try_get::<String>("", "changes").unwrap()).unwrap();
    assert_eq!(changes["name"], "after");
    assert_eq!(changes["scopes"], json!(["b", "a"]));
    assert_eq!(changes["expires_at"], "2040-01-01T00:00:00Z");
    assert_eq!(server.get(&format!("{KEYS}?q=after"), &token).await.body["items"][0]["id"], key["id"]);
    assert_eq!(server.get(&format!("{KEYS}?q=before"), &token).await.body["items"], json!([]));
}

#[tokio::test]
async fn null_clears_and_absent_leaves() {
    let (server, token) = alice().await;
    let body = json!({ "name": "x", "scopes": ["a"], "metadata": { "m": 1 }, "expires_in_seconds": 3600 });
    let key = server.key(&token, body).await;
    let kept = |answer: &Answer, members: &[&str]| {
        for member in members {
            assert_eq!(answer.body.get(member), key.get(member), "{member}: {}", answer.text);
        }
    };
    let answer = patch(&server, &token, &key, json!({ "scopes": null })).await;
    assert_eq!(answer.body["scopes"], json!([]));
    kept(&answer, &["name", "metadata", "expires_at"]);
    let answer = patch(&server, &token, &key, json!({ "metadata": null })).await;
    assert_eq!(answer.body["metadata"], json!({}));
    kept(&answer, &["name", "expires_at"]);
    let answer = patch(&server, &token, &key, json!({ "expires_at": null })).await;
    assert!(answer.body.get("expires_at").is_none(), "{}", answer.text);
    kept(&answer, &["name"]);
    let row = &server.rows("SELECT scopes, metadata, expires_at FROM api_keys").await[0];
    assert_eq!(row.try_get::<String>("", "scopes").unwrap(), "[]");
    assert_eq!(row.try_get::<String>("", "metadata").unwrap(), "{}");
    assert_eq!(row.try_get::<Option<String>>("", "expires_at").unwrap(), None);
}

#[tokio::test]
async fn metadata_is_merged_at_any_depth() {
    let (server, token) = alice().await;
    let metadata = json!({ "a": { "b": 1, "c": { "d": 2 } }, "list": [1, 2], "x": null });
    let key = server.key(&token, json!({ "name": "x", "metadata": metadata })).await;
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
        let answer = patch(&server, &token, &key, json!({ "metadata": change })).await;
        assert_eq!(answer.body["metadata"], result);
    }
}

#[tokio::test]
async fn merged_metadata_is_at_most_4096_bytes() {
    let (server, token) = alice().await;
    let key = server.key(&token, json!({ "name": "x", "metadata": { "a": "x".repeat(3000) } })).await;
    let room = 4096 - json!({ "a": "x".repeat(3000), "b": "" }).to_string().len();
    let before = server.dump().await;
    let answer = server.patch(id(&key), &token, json!({ "metadata": { "b": "y".repeat(room + 1) } })).await;
    answer.problem(422);
    assert_eq!(answer.pointers(), ["/metadata"]);
    assert_eq!(server.dump().await, before);
    patch(&server, &token, &key, json!({ "metadata": { "b": "y".repeat(room) } })).await;
    patch(&server, &token, &key, json!({ "metadata": { "a": null, "c": "z".repeat(2900) } })).await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_pointed_at_and_changes_nothing() {
    let (server, token) = alice().await;
    let key = server.key(&token, json!({ "name": "x", "scopes": ["a"] })).await;
    let before = server.dump().await;
    for (body, pointers) in [
        (json!({ "name": null }), vec!["/name"]),
        (json!({ "name": " " }), vec!["/name"]),
        (json!({ "name": "a\u{202e}" }), vec!["/name"]),
        (json!({ "enabled": null }), vec!["/enabled"]),
        (json!({ "enabled": "true" }), vec!["/enabled"]),
        (json!({ "enabled": 0 }), vec!["/enabled"]),
        (json!({ "scopes": ["A"] }), vec!["/scopes/0"]),
        (json!({ "scopes": ["a", "a"] }), vec!["/scopes"]),
        (json!({ "metadata": [] }), vec!["/metadata"]),
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), vec!["/expires_at"]),
        (json!({ "expires_at": "soon" }), vec!["/expires_at"]),
        (json!({ "expires_in_seconds": 5 }), vec!["/expires_in_seconds"]),
        (json!({ "id": "x", "key": "y" }), vec!["/id", "/key"]),
        (json!({ "name": "fine", "owner": "bob" }), vec!["/owner"]),
        (json!({ "name": 5, "enabled": 5, "scopes": 5 }), vec!["/enabled", "/name", "/scopes"]),
    ] {
        let answer = server.patch(id(&key), &token, body.clone()).await;
        answer.problem(422);
        let mut found = answer.pointers();
        found.sort_unstable();
        assert_eq!(found, pointers, "{body}: {}", answer.text);
    }
    for (body, status) in [("[]", 400), ("null", 400), ("", 400), ("{", 400), (r#"{"name":"a","name":"b"}"#, 422)] {
        let request = server.request(Method::PATCH, &format!("{KEYS}{}", id(&key)), &token);
        Answer::of(request.header("content-type", "application/json").body(body)).await.problem(status);
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn a_patch_is_json_or_a_merge_patch_by_its_media_type() {
    let (server, token) = alice().await;
    let key = server.key(&token, json!({ "name": "x" })).await;
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
        let answer = Answer::of(request.body(json!({ "name": format!("by {media_type}") }).to_string())).await;
        assert_eq!(answer.status, status, "{media_type}: {}", answer.text);
    }
    let merge = server.request(Method::POST, KEYS, &token).header("content-type", "application/merge-patch+json");
    Answer::of(merge.body(r#"{"name":"x"}"#)).await.problem(415);
}

#[tokio::test]
async fn a_patch_that_changes_nothing_leaves_etag_and_audit_alone() {
    let (server, token) = alice().await;
    let body =
        json!({ "name": "x", "scopes": ["a"], "metadata": { "m": { "n": 1 } }, "expires_at": "2040-01-01T00:00:00Z" });
    let key = server.key(&token, body.clone()).await;
    let (before, tag) = (server.dump().await, get(&server, &token, &key).await);
    for same in [
        json!({}),
        body,
        json!({ "enabled": true, "metadata": {} }),
        json!({ "metadata": { "m": { "o": null }, "p": null }, "name": "  x " }),
        json!({ "expires_at": "2040-01-01T01:00:00+01:00" }),
    ] {
        let answer = patch(&server, &token, &key, same).await;
        assert_eq!((answer.etag(), &answer.text), (tag.etag(), &tag.text));
    }
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn only_the_present_revision_matches() {
    let (server, token) = alice().await;
    let key = server.key(&token, json!({ "name": "x" })).await;
    let stale = get(&server, &token, &key).await.etag().to_owned();
    patch(&server, &token, &key, json!({ "name": "y" })).await;
    let fresh = get(&server, &token, &key).await.etag().to_owned();
    assert_ne!(stale, fresh);
    let inner = fresh.trim_matches('"').to_owned();
    let (weak, padded, signed) = (format!("W/{fresh}"), format!("\"0{inner}\""), format!("\"+{inner}\""));
    let before = server.dump().await;
    for tag in [&stale, &weak, &inner, &padded, &signed, "\"\"", "\"x\"", "garbage", "", "\"é\"", ",", "\"*\""] {
        for method in [Method::GET, Method::PATCH] {
            let answer = matching(&server, method.clone(), &token, &key, &[tag]).await;
            assert_eq!(answer.status, 412, "{method} {tag}: {}", answer.text);
            answer.problem(412);
        }
    }
    assert_eq!(server.dump().await, before);
    let list = format!("{stale}, {fresh}");
    for tags in [vec![&*fresh], vec!["*"], vec![&list], vec![&*stale, &*fresh], vec![" * "]] {
        assert_eq!(matching(&server, Method::GET, &token, &key, &tags).await.status, 200, "{tags:?}");
    }
    assert_eq!(matching(&server, Method::PATCH, &token, &key, &["*"]).await.status, 200);
    let now = get(&server, &token, &key).await.etag().to_owned();
    assert_eq!(matching(&server, Method::PATCH, &token, &key, &[&stale, &now]).await.status, 200);
    assert_eq!(matching(&server, Method::PATCH, &token, &key, &[&now]).await.status, 412);
}
