//! List: the caller's keys, newest first, in pages that stay consistent while keys are created and deleted.

mod sqlite;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, database, id, secret};

async fn list(server: &Server, credential: &str, query: &str) -> Response {
    let response = server.get(&format!("{KEYS}?{query}"), credential).await;
    assert_eq!(response.status, 200, "{query}: {}", response.text);
    response
}

fn ids(page: &Response) -> Vec<String> {
    page.body["items"].as_array().unwrap().iter().map(|key| id(key).to_owned()).collect()
}

fn names(page: &Response) -> Vec<&str> {
    page.body["items"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect()
}

async fn create_keys(server: &Server, token: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        ids.push(id(&server.create_key_from(token, json!({ "name": format!("key {number}") })).await).to_owned());
    }
    ids
}

fn newest_first(created: &[String]) -> Vec<String> {
    created.iter().rev().cloned().collect()
}

#[tokio::test]
async fn list_returns_newest_first_20_by_default_up_to_100() {
    let server = Server::start();
    let token = server.token("alice");
    let empty = list(&server, &token, "").await;
    assert_eq!((&*empty.text, empty.header("link")), (r#"{"items":[]}"#, None));

    let created = create_keys(&server, &token, 102).await;
    let expected = newest_first(&created);
    for (query, count) in [("", 20), ("limit=20", 20), ("limit=1", 1), ("limit=100", 100), ("limit=007", 7)] {
        let page = list(&server, &token, query).await;
        assert_eq!(ids(&page), expected[..count], "{query}");
        assert!(page.body["next_cursor"].is_string() && page.header("link").is_some(), "{query}");
        assert_eq!(page.header("content-type"), Some("application/json"));
        assert_eq!(page.header("cache-control"), Some("no-store"));
    }
    let cursor = list(&server, &token, "limit=100").await.body["next_cursor"].as_str().unwrap().to_owned();
    let last = list(&server, &token, &format!("limit=2&cursor={cursor}")).await;
    assert_eq!(ids(&last), expected[100..]);
    assert!(last.body.get("next_cursor").is_none() && last.header("link").is_none(), "{}", last.text);
}

#[tokio::test]
async fn list_items_omit_secrets() {
    let server = Server::start();
    let token = server.token_with("alice", &["--organization", "acme"]);
    let body = json!({ "name": "é", "scopes": ["b", "a"], "metadata": { "m": 1 }, "expires_in_seconds": 3600 });
    let key = server.create_key_from(&token, body).await;
    assert_eq!(server.rotate(id(&key), &token, json!({ "grace_seconds": 60 })).await.status, 201);
    let page = list(&server, &token, "").await;
    let mut whole = server.get(&format!("{KEYS}{}", id(&key)), &token).await.body;
    let item = &page.body["items"][0];
    for absent in ["secrets", "safe_to_retire"] {
        whole.as_object_mut().unwrap().remove(absent);
        assert!(item.get(absent).is_none(), "{absent}");
    }
    assert_eq!(item, &whole);
    assert!(item.get("key").is_none() && !page.text.contains(&secret(&key)[7..48]));
}

#[tokio::test]
async fn list_pages_visit_each_key_once_during_changes() {
    let server = Server::start();
    let token = server.token("alice");
    let created = create_keys(&server, &token, 25).await;
    for by_link in [false, true] {
        let mut seen = Vec::new();
        let mut next = Some(format!("{KEYS}?limit=4"));
        while let Some(path) = next {
            let page = server.get(&path, &token).await;
            assert_eq!(page.status, 200, "{}", page.text);
            seen.extend(ids(&page));
            let cursor = page.body["next_cursor"].as_str();
            next = match by_link {
                true => page.next_page(),
                false => cursor.map(|cursor| format!("{KEYS}?cursor={cursor}&limit=4")),
            };
            assert_eq!(next.is_some(), cursor.is_some());

            let added = server.create_key_from(&token, json!({ "name": "later" })).await;
            assert_eq!(server.delete(id(&added), &token).await.status, 204);
            let added = server.create_key_from(&token, json!({ "name": "later too" })).await;
            assert_eq!(server.revoke(id(&added), &token, Value::Null).await.status, 200);
            assert_eq!(server.revoke(seen.last().unwrap(), &token, Value::Null).await.status, 200);
            if let Some(ahead) = created.iter().find(|id| !seen.contains(id)) {
                assert_eq!(server.revoke(ahead, &token, Value::Null).await.status, 200);
            }
        }
        let seen_of_old: Vec<_> = seen.iter().filter(|id| created.contains(id)).cloned().collect();
        assert_eq!(seen_of_old, newest_first(&created));
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "none twice");
    }
}

#[tokio::test]
async fn list_cursor_survives_deletion_of_its_key() {
    let server = Server::start();
    let token = server.token("alice");
    let created = create_keys(&server, &token, 6).await;
    let first = list(&server, &token, "limit=2").await;
    assert_eq!(server.delete(&created[4], &token).await.status, 204);
    assert_eq!(server.delete(&created[3], &token).await.status, 204);
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let rest = list(&server, &token, &format!("cursor={cursor}")).await;
    assert_eq!(ids(&rest), newest_first(&created[..3]));
    assert_eq!(
        ids(&list(&server, &token, "").await),
        [&created[5], &created[2], &created[1], &created[0]].map(String::clone)
    );
}

#[tokio::test]
async fn list_link_keeps_rest_of_query() {
    let server = Server::start();
    let token = server.token("alice");
    for name in ["über a", "other", "über b", "über c"] {
        server.create_key_from(&token, json!({ "name": name })).await;
    }
    let first = list(&server, &token, "q=%C3%BCber&limit=2&status=active").await;
    assert_eq!(names(&first), ["über c", "über b"]);
    let next = first.next_page().unwrap();
    assert!(next.starts_with(KEYS), "{next}");
    let second = server.get(&next, &token).await;
    assert_eq!((names(&second), second.header("link")), (vec!["über a"], None));
}

#[tokio::test]
async fn list_filters_by_current_status() {
    let server = Server::start();
    let token = server.token("alice");
    let mut created = std::collections::BTreeMap::new();
    for name in ["active", "expired", "disabled", "revoked", "disabled expired", "revoked disabled expired", "deleted"]
    {
        let lifetime = if name.contains("expired") { 1 } else { 3600 };
        let key = server.create_key_from(&token, json!({ "name": name, "expires_in_seconds": lifetime })).await;
        created.insert(name, id(&key).to_owned());
        if name.contains("disabled") {
            assert_eq!(server.patch(id(&key), &token, json!({ "enabled": false })).await.status, 200);
        }
        if name.contains("revoked") {
            assert_eq!(server.revoke(id(&key), &token, Value::Null).await.status, 200);
        }
        if name == "deleted" {
            assert_eq!(server.delete(id(&key), &token).await.status, 204);
        }
    }
    tokio::time::sleep(Duration::from_millis(1050)).await;
    for (status, expected) in [
        ("active", vec!["active"]),
        ("expired", vec!["expired"]),
        ("disabled", vec!["disabled expired", "disabled"]),
        ("revoked", vec!["revoked disabled expired", "revoked"]),
    ] {
        let page = list(&server, &token, &format!("status={status}")).await;
        assert_eq!(names(&page), expected, "{status}");
        assert!(page.body["items"].as_array().unwrap().iter().all(|key| key["status"] == status), "{}", page.text);
    }
    assert_eq!(
        list(&server, &token, "").await.body["items"].as_array().unwrap().len(),
        6,
        "the deleted one is not listed"
    );
    let expired = list(&server, &token, "status=expired&limit=1").await;
    assert!(expired.body.get("next_cursor").is_none(), "no page follows that would be empty: {}", expired.text);
}

#[tokio::test]
async fn list_page_with_filter_may_be_empty_until_the_last() {
    let server = Server::start();
    let (token, admin) = (server.token("alice"), server.token_with("root", &["--scopes", "api-keys:admin"]));
    let common = server.create_key_from(&token, json!({ "name": "common" })).await;
    let needle = server.create_key_from(&token, json!({ "name": "needle" })).await;
    assert_eq!(server.revoke(id(&needle), &token, Value::Null).await.status, 200);
    let common = format!("id = {}", database::uuid(id(&common)));
    database::copy_key(&server, &common, database::NEW_UUID[database::kind() as usize], 4100).await;
    for (path, credential, filter, found) in [
        (KEYS, &token, "q=needle", 1),
        (KEYS, &token, "status=revoked", 1),
        (KEYS, &token, "status=disabled", 0),
        ("/api/admin/api-keys/", &admin, "q=needle&subject=alice", 1),
        ("/api/auth/audit-events", &token, "action=revoked", 1),
        ("/api/admin/audit-events", &admin, "action=deleted", 0),
    ] {
        let (mut items, mut empty, mut next) = (Vec::new(), 0, Some(format!("{path}?{filter}")));
        let mut pages = 0;
        while let Some(path) = next {
            let page = server.get(&path, credential).await;
            assert_eq!(page.status, 200, "{path}: {}", page.text);
            let of_page = page.body["items"].as_array().unwrap();
            empty += usize::from(of_page.is_empty());
            items.extend(of_page.iter().cloned());
            assert_eq!(page.body["next_cursor"].is_string(), page.header("link").is_some());
            next = page.next_page();
            pages += 1;
        }
        assert_eq!((items.len(), pages, pages - empty), (found, 3, found), "{path}?{filter}: {items:?}");
    }
}

#[tokio::test]
async fn list_finds_names_by_word_prefix() {
    let server = Server::start();
    let token = server.token("alice");
    let created = ["Build-Bot 2", "rebuild", "Éclair CAFÉ", "Ключ сборки", "鍵 one", "100%_sure", "ΟΔΥΣΣΕΑΣ"];
    for name in created {
        server.create_key_from(&token, json!({ "name": name })).await;
    }
    for (query, expected) in [
        ("build", vec!["Build-Bot 2"]),
        ("BUI", vec!["Build-Bot 2"]),
        ("bot buil", vec!["Build-Bot 2"]),
        ("bot-build 2", vec!["Build-Bot 2"]),
        ("bot 3", vec![]),
        ("uild", vec![]),
        ("re", vec!["rebuild"]),
        ("éclair", vec!["Éclair CAFÉ"]),
        ("ÉC", vec!["Éclair CAFÉ"]),
        ("café", vec!["Éclair CAFÉ"]),
        ("eclair", vec![]),
        ("КЛЮ", vec!["Ключ сборки"]),
        ("сбор", vec!["Ключ сборки"]),
        ("鍵", vec!["鍵 one"]),
        ("οδυσ", vec!["ΟΔΥΣΣΕΑΣ"]),
        ("1%", vec!["100%_sure"]),
        ("s_re", vec![]),
        ("%", created.iter().rev().copied().collect()),
        ("", created.iter().rev().copied().collect()),
        ("' OR 1=1 --", vec![]),
        ("one\\", vec!["鍵 one"]),
    ] {
        let response = server.get(&search_path(query), &token).await;
        assert_eq!(response.status, 200, "{query}: {}", response.text);
        assert_eq!(names(&response), expected, "{query}");
    }
    let renamed = list(&server, &token, "q=rebuild").await;
    assert_eq!(server.patch(&ids(&renamed)[0], &token, json!({ "name": "tear down" })).await.status, 200);
    assert_eq!(names(&list(&server, &token, "q=tear").await), ["tear down"]);
    assert_eq!(names(&list(&server, &token, "q=rebuild").await), [""; 0]);
}

#[tokio::test]
async fn list_search_ignores_case_and_unicode_form() {
    let server = Server::start();
    let token = server.token("alice");
    for name in ["Éclair CAFÉ", "ΟΔΥΣΣΕΑΣ"] {
        server.create_key_from(&token, json!({ "name": name })).await;
    }
    for (query, expected) in [
        ("cafe\u{301}", "Éclair CAFÉ"),
        ("E\u{301}clair", "Éclair CAFÉ"),
        ("οδυσ", "ΟΔΥΣΣΕΑΣ"),
        ("ΟΔΥΣ", "ΟΔΥΣΣΕΑΣ"),
        ("οδυσσεασ", "ΟΔΥΣΣΕΑΣ"),
    ] {
        let response = server.get(&search_path(query), &token).await;
        assert_eq!(names(&response), [expected], "{query:?}");
    }
}

fn search_path(words: &str) -> String {
    let escaped: String = words.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("{KEYS}?q={escaped}")
}

#[tokio::test]
async fn list_with_invalid_query_is_rejected() {
    let server = Server::start();
    let token = server.token("alice");
    let long = format!("q={}", "x".repeat(256));
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=1.5",
        "limit=x",
        "limit=",
        "limit",
        "limit=+5",
        "limit=1e1",
        "limit=18446744073709551617",
        "limit=%EF%BC%95",
        "cursor=",
        "cursor=x",
        "cursor=!!!!!!!!!!!!!!!!!!!!!!",
        "cursor=AAAAAAAAAAAAAAAAAAAAAAA",
        "cursor=AAAAAAAAAAAAAAAAAAAAA",
        "cursor=AAAAAAAAAAAAAAAAAAAAAA%3D%3D",
        "status=",
        "status=Active",
        "status=gone",
        "status=active,revoked",
        "offset=5",
        "page=2",
        "Limit=5",
        "owner=alice",
        "limit=5&limit=5",
        "status=active&status=revoked",
        "q=a&q=b",
        "cursor=x&cursor=y",
        "a",
        "=",
        "%6Cimit=5",
        "limit[]=5",
        &long,
    ] {
        let response = server.get(&format!("{KEYS}?{query}"), &token).await;
        assert_eq!(response.status, 400, "{query}: {}", response.text);
        response.assert_problem(400);
    }
    for query in
        ["", "&", "limit=5&", "&limit=5", "limit=%35", "cursor=AAAAAAAAAAAAAAAAAAAAAA", "cursor=_________-________-___"]
    {
        list(&server, &token, query).await;
    }
    for (method, path) in [(reqwest::Method::POST, KEYS), (reqwest::Method::GET, "/api/auth/audit-events")] {
        let body = if method == reqwest::Method::POST { json!({ "name": "x" }) } else { Value::Null };
        let unknown = server.call(method, &format!("{path}?q=x"), &token, body).await;
        unknown.assert_problem(400);
    }
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn list_by_key_requires_read_scope() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write"]);
    let reader = server.create_key_from(&token, json!({ "name": "r", "scopes": ["api-keys:read"] })).await;
    let writer = server.create_key_from(&token, json!({ "name": "w", "scopes": ["api-keys:write"] })).await;
    server.create_key_from(&server.token("bob"), json!({ "name": "b" })).await;
    assert_eq!(names(&list(&server, secret(&reader), "").await), ["w", "r"]);
    let response = server.get(KEYS, secret(&writer)).await;
    response.assert_missing_scope("api-keys:read");
}
