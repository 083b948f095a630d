//! List: keys of all owners, by owner, organization, name and status.

use serde_json::Value;

use super::{KEYS_OF_ALL, deployment, names, revoke};
use crate::support::{Server, id};

const ISSUER: &str = "urn:mintkey:standalone";

#[tokio::test]
async fn admin_list_filters_keys_of_all_owners() {
    let (server, carol, keys) = deployment().await;
    assert_eq!(revoke(&server, &carol, id(&keys[0]), Value::Null).await.status, 200);
    for (query, expected) in [
        ("", vec!["other", "build", "deploy bot", "build bot"]),
        ("subject=alice", vec!["deploy bot", "build bot"]),
        ("organization=acme", vec!["build", "deploy bot", "build bot"]),
        ("organization=acme&subject=bob", vec!["build"]),
        ("organization=ACME", vec![]),
        ("organization=", vec!["other"]),
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
    let next = first.next_page().unwrap();
    let cursor = first.body["next_cursor"].as_str().unwrap();
    assert_eq!(next, format!("{KEYS_OF_ALL}?organization=acme&limit=2&cursor={cursor}"));
    let second = server.get(&next, &carol).await;
    assert_eq!(second.body["items"][0]["id"], keys[0]["id"]);
    assert!(second.body.get("next_cursor").is_none() && second.header("link").is_none());
    for query in ["limit=0", "status=x", "owner=alice", "subject=a&subject=b", "cursor=x"] {
        server.get(&format!("{KEYS_OF_ALL}?{query}"), &carol).await.assert_problem(400);
    }
}

#[tokio::test]
async fn admin_list_by_owner_with_control_characters_is_empty() {
    let server = Server::start();
    let carol = server.token_with("carol", &["--scopes", "api-keys:admin"]);
    server.create_key(&server.token("alice"), &[]).await;
    for filter in ["issuer=%00", "subject=a%00", "organization=%0a"] {
        let page = server.get(&format!("{KEYS_OF_ALL}?{filter}"), &carol).await;
        assert_eq!((page.status.as_u16(), &page.body), (200, &serde_json::json!({ "items": [] })), "{filter}");
    }
}
