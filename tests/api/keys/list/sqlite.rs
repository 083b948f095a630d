//! Growth: the cost of a page does not depend on how many keys the owner has.

use std::time::{Duration, Instant};

use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id, mintkey, run};

const MANY: u64 = 1_000_000;

/// Inserts copies of the key with ascending ids, all older than its own.
async fn copy_key(server: &Server, key: &Value, subject: &str, count: u64) {
    let columns = "owner_organization, scopes, metadata, enabled, secret_start, secret_last4, created_at, \
                   updated_at, expires_at, revoked_at, revoked_by, revoke_reason, deleted_at, revision, \
                   secret_created_at, secret_pepper_id, creation_actor_kind, creation_request_id, \
                   creation_changes";
    let database = server.database().await;
    database
        .execute_unprepared(&format!(
            "INSERT INTO api_keys (id, owner_issuer, owner_subject, name, name_words, secret_id, secret_hash, {columns}) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
             SELECT unhex(printf('0190000000007000%016x', 2 * i + ('{subject}' = 'alice'))), owner_issuer, '{subject}', \
             printf('key %d', i), printf(' key %d', i), randomblob(16), randomblob(32), {columns} FROM n, api_keys WHERE id = x'{}'",
            id(key).replace('-', ""),
        ))
        .await
        .unwrap();
    database.close().await.unwrap();
}

async fn list_page(server: &Server, token: &str, query: &str) -> (Response, Duration) {
    let started = Instant::now();
    let response = server.get(&format!("{KEYS}?{query}"), token).await;
    let took = started.elapsed();
    assert_eq!(response.status, 200, "{}", response.text);
    (response, took)
}

fn names(list_page: &Response) -> Vec<&str> {
    list_page.body["items"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect()
}

/// The cursor after the `i`-th key of the subject, as in the page that ends with this key.
fn cursor(subject: &str, i: u64) -> String {
    let number = (0x0190_0000_0000_7000_u128 << 64) | u128::from(2 * i + u64::from(subject == "alice"));
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, number.to_be_bytes())
}

async fn median(server: &Server, token: &str, query: &str) -> Duration {
    let mut times = Vec::new();
    for _ in 0..20 {
        times.push(list_page(server, token, query).await.1);
    }
    times.sort_unstable();
    times[times.len() / 2]
}

#[tokio::test]
async fn list_of_a_million_keys_pages_like_a_hundred() {
    let directory = tempfile::tempdir().unwrap();
    let migrated = run(mintkey().args(["migrate", "--data-dir"]).arg(directory.path()));
    assert!(migrated.status.success(), "{migrated:?}");
    let server = Server::start_in(directory.path(), &[]);
    let (alice, bob) = (server.token("alice"), server.token("bob"));
    let key = server.create_key_from(&alice, json!({ "name": "newest", "scopes": ["a"] })).await;
    copy_key(&server, &key, "alice", MANY).await;
    copy_key(&server, &key, "bob", 100).await;
    assert_eq!(server.count("api_keys").await as u64, MANY + 101);

    let (first, _) = list_page(&server, &alice, "").await;
    assert_eq!(names(&first)[..3], ["newest", &format!("key {MANY}"), &format!("key {}", MANY - 1)]);
    let (hundred, _) = list_page(&server, &alice, "limit=100").await;
    assert_eq!(hundred.body["next_cursor"], cursor("alice", MANY - 98), "the cursors made here are the service's");
    let thousandth = MANY - 100 * 999;
    let (deep, _) = list_page(&server, &alice, &format!("limit=100&cursor={}", cursor("alice", thousandth + 1))).await;
    let expected: Vec<_> = (0..100).map(|n| format!("key {}", thousandth - n)).collect();
    assert_eq!(names(&deep), expected);
    let (last, _) = list_page(&server, &alice, &format!("cursor={}", cursor("alice", 6))).await;
    assert_eq!(names(&last), ["key 5", "key 4", "key 3", "key 2", "key 1"]);
    assert!(last.body.get("next_cursor").is_none());
    let (small, _) = list_page(&server, &bob, "limit=100").await;
    assert_eq!((names(&small).len(), small.header("link")), (100, None));

    let middle = format!("cursor={}", cursor("alice", MANY / 2));
    for (what, of_many, of_few) in [
        ("first page", "".to_owned(), ""),
        ("middle page", middle.clone(), ""),
        ("middle page of active keys", format!("{middle}&status=active"), "status=active"),
        ("last page", format!("cursor={}", cursor("alice", 6)), ""),
    ] {
        let (many, few) = (median(&server, &alice, &of_many).await, median(&server, &bob, of_few).await);
        assert!(many < few * 10, "{what}: {many:?} of a million keys, {few:?} of a hundred");
    }
}
