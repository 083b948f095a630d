//! Descendants: the keys that a key created, those that they created, and so on.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::{Value, json};

use super::{alice_with_scopes, get, key_with_scopes};
use crate::revocation_jobs::end_of_job;
use crate::support::{KEYS, Response, Server, eventually, id, mintkey_at, run, secret};

/// A tree of keys of alice's: the root, two children, and two keys that each of them created.
struct Tree {
    root: Value,
    children: Vec<Value>,
    grandchildren: Vec<Value>,
}

impl Tree {
    async fn grow(server: &Server, token: &str) -> Self {
        let root = key_with_scopes(server, token).await;
        let (mut children, mut grandchildren) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let child = key_with_scopes(server, secret(&root)).await;
            for _ in 0..2 {
                grandchildren.push(key_with_scopes(server, secret(&child)).await);
            }
            children.push(child);
        }
        Self { root, children, grandchildren }
    }

    fn descendants(&self) -> impl Iterator<Item = &Value> {
        self.children.iter().chain(&self.grandchildren)
    }
}

/// The statuses of these keys, after a check that each secret is accepted if and only if its key is active.
async fn statuses(server: &Server, token: &str, keys: impl IntoIterator<Item = &Value>) -> Vec<String> {
    let mut statuses = Vec::new();
    for key in keys {
        let status = get(server, token, key).await.body["status"].as_str().unwrap().to_owned();
        let accepted = server.get(KEYS, secret(key)).await.status == 200;
        assert_eq!(accepted, status == "active", "{}", id(key));
        statuses.push(status);
    }
    statuses
}

async fn ids(server: &Server, token: &str, path: &str) -> Vec<String> {
    let response = server.get(path, token).await;
    assert_eq!(response.status, 200, "{}", response.text);
    let mut ids: Vec<_> =
        response.body["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids
}

fn sorted_ids<'k>(keys: impl IntoIterator<Item = &'k Value>) -> Vec<String> {
    let mut ids: Vec<_> = keys.into_iter().map(|key| id(key).to_owned()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn created_by_key_is_shown_and_filters_lists_and_audit() {
    let server = Server::start();
    let alice = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write api-keys:admin"]);
    let tree = Tree::grow(&server, &alice).await;
    assert_eq!(tree.root.get("created_by_key"), None);
    assert_eq!(get(&server, &alice, &tree.root).await.body.get("created_by_key"), None);
    for child in &tree.children {
        assert_eq!(child["created_by_key"], tree.root["id"]);
        for face in [KEYS, "/api/admin/api-keys/"] {
            assert_eq!(
                server.get(&format!("{face}{}", id(child)), &alice).await.body["created_by_key"],
                tree.root["id"]
            );
        }
    }
    for face in [KEYS, "/api/admin/api-keys"] {
        let of_root = ids(&server, &alice, &format!("{face}?created_by_key={}", id(&tree.root))).await;
        assert_eq!(of_root, sorted_ids(&tree.children), "{face}");
        let of_leaf = format!("{face}?created_by_key={}", id(&tree.grandchildren[0]));
        assert_eq!(ids(&server, &alice, &of_leaf).await, [] as [String; 0]);
        server.get(&format!("{face}?created_by_key=x"), &alice).await.assert_problem(400);
    }
    assert_eq!(server.patch(id(&tree.children[0]), secret(&tree.root), json!({ "name": "by root" })).await.status, 200);
    for face in ["/api/auth/audit-events", "/api/admin/audit-events"] {
        let events = server.get(&format!("{face}?actor_key_id={}", id(&tree.root)), &alice).await;
        let actions: Vec<_> = events.body["items"].as_array().unwrap().iter().map(|event| &event["action"]).collect();
        assert_eq!(actions, ["updated", "created", "created"], "{face}");
    }
    let bob = server.token("bob");
    let other = ids(&server, &bob, &format!("{KEYS}?created_by_key={}", id(&tree.root))).await;
    assert_eq!(other, [] as [String; 0], "another owner's key filters nothing");
}

#[tokio::test]
async fn revoke_leaves_descendants_by_default() {
    let (server, token) = alice_with_scopes().await;
    let tree = Tree::grow(&server, &token).await;
    for body in [Value::Null, json!({ "descendants": false })] {
        let response = server.revoke(id(&tree.root), &token, body).await;
        assert_eq!((response.status.as_u16(), response.body.get("revoked_descendants")), (200, None));
    }
    assert_eq!(statuses(&server, &token, tree.descendants()).await, ["active"; 6]);
    // A key that was revoked before still leads to its descendants.
    let response = server.revoke(id(&tree.root), &token, json!({ "descendants": true })).await;
    assert_eq!((response.status.as_u16(), &response.body["revoked_descendants"]), (200, &json!(6)));
    assert_eq!(statuses(&server, &token, tree.descendants()).await, ["revoked"; 6]);
    let before = server.dump().await;
    let again = server.revoke(id(&tree.root), &token, json!({ "descendants": true })).await;
    assert_eq!((again.status.as_u16(), &again.body["revoked_descendants"]), (200, &json!(0)));
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn revoke_with_descendants_ends_tree_and_records_each() {
    let (server, token) = alice_with_scopes().await;
    let tree = Tree::grow(&server, &token).await;
    let other = Tree::grow(&server, &token).await;
    let [gone, middle] = &tree.children[..] else { panic!("two children") };
    assert_eq!(server.revoke(id(gone), &token, json!({ "reason": "before" })).await.status, 200);
    assert_eq!(server.delete(id(middle), &token).await.status, 204);

    let body = json!({ "reason": "leaked", "descendants": true });
    let response = server.revoke(id(&tree.root), &token, body).await;
    assert_eq!((response.status.as_u16(), &response.body["revoked_descendants"]), (200, &json!(4)));
    for key in &tree.grandchildren {
        let shown = get(&server, &token, key).await;
        assert_eq!((&shown.body["status"], &shown.body["revoke_reason"]), (&json!("revoked"), &json!("leaked")));
        assert_eq!(
            (&shown.body["revoked_at"], &shown.body["revoked_by"]),
            (&response.body["revoked_at"], &json!("alice"))
        );
        assert_ne!(shown.etag(), "\"1\"");
        assert_eq!(server.audit_actions(id(key)).await, ["created", "revoked"]);
        let events = server.get(&format!("/api/auth/audit-events?key_id={}&action=revoked", id(key)), &token).await;
        let expected = json!({ "reason": "leaked", "descendant_of": tree.root["id"] });
        assert_eq!(events.body["items"][0]["changes"], expected);
    }
    assert_eq!(get(&server, &token, gone).await.body["revoke_reason"], "before");
    assert_eq!(server.audit_actions(id(middle)).await, ["created", "revoked", "deleted"]);
    let spared = std::iter::once(&other.root).chain(other.descendants());
    assert_eq!(statuses(&server, &token, spared).await, ["active"; 7]);
}

#[tokio::test]
async fn every_operation_that_ends_a_key_can_include_descendants() {
    let server = Server::start();
    let alice = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write api-keys:admin"]);
    for face in ["admin", "delete", "self", "bulk", "command line"] {
        let tree = Tree::grow(&server, &alice).await;
        let root = id(&tree.root);
        let send = async |method, path: String, credential: &str, body| {
            let response = server.call(method, &path, credential, body).await;
            assert!(response.status.is_success(), "{face}: {}", response.text);
            response
        };
        match face {
            "admin" => {
                let path = format!("/api/admin/api-keys/{root}/revoke");
                let response = send(Method::POST, path, &alice, json!({ "descendants": true })).await;
                assert_eq!(response.body["revoked_descendants"], 6);
            }
            "delete" | "self" => {
                let (path, credential) =
                    if face == "self" { ("self", secret(&tree.root)) } else { (root, alice.as_str()) };
                let path = format!("{KEYS}{path}?descendants=true");
                let response = send(Method::DELETE, path, credential, Value::Null).await;
                assert_eq!((response.status.as_u16(), response.header("revoked-descendants")), (204, Some("6")));
            }
            "bulk" => {
                let filter = |dry_run| json!({ "created_by_key": root, "descendants": true, "dry_run": dry_run });
                let path = || "/api/admin/api-keys/revoke".to_owned();
                let counted = send(Method::POST, path(), &alice, filter(true)).await.body;
                assert_eq!(counted, json!({ "count": { "matched": 2, "descendants": 4, "complete": true } }));
                let job = end_of_job(&server, &alice, &send(Method::POST, path(), &alice, filter(false)).await).await;
                assert_eq!((&job["revoked"], &job["revoked_descendants"]), (&json!(6), &json!(4)), "{job}");
            }
            _ => {
                let output = run(mintkey_at(&server.data).args(["keys", "revoke", root, "--descendants", "--json"]));
                assert!(output.status.success(), "{output:?}");
                let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(printed["revoked_descendants"], 6);
                for key in tree.descendants() {
                    let refused = async || (server.get(KEYS, secret(key)).await.status == 401).then_some(());
                    eventually(Duration::from_secs(3), "401", refused).await;
                }
            }
        }
        assert_eq!(statuses(&server, &alice, tree.descendants()).await, ["revoked"; 6], "{face}");
        for key in tree.descendants() {
            assert_eq!(server.audit_actions(id(key)).await, ["created", "revoked"], "{face}");
        }
    }
}

#[tokio::test]
async fn revoke_descendants_setting_is_the_default() {
    let server = Server::start_with(&["--revoke-descendants"]);
    let token = server.token_with("alice", &["--scopes", "api-keys:read api-keys:write"]);
    let [spared, ended, deleted] =
        [Tree::grow(&server, &token).await, Tree::grow(&server, &token).await, Tree::grow(&server, &token).await];
    let response = server.revoke(id(&spared.root), &token, json!({ "descendants": false })).await;
    assert_eq!((response.status.as_u16(), response.body.get("revoked_descendants")), (200, None));
    let response = server.revoke(id(&ended.root), &token, Value::Null).await;
    assert_eq!((response.status.as_u16(), &response.body["revoked_descendants"]), (200, &json!(6)));
    let response = server.delete(id(&deleted.root), &token).await;
    assert_eq!((response.status.as_u16(), response.header("revoked-descendants")), (204, Some("6")));
    assert_eq!(statuses(&server, &token, spared.descendants()).await, ["active"; 6]);
    assert_eq!(statuses(&server, &token, ended.descendants().chain(deleted.descendants())).await, ["revoked"; 12]);
}

#[tokio::test]
async fn revoke_with_descendants_and_stale_if_match_changes_nothing() {
    let (server, token) = alice_with_scopes().await;
    let tree = Tree::grow(&server, &token).await;
    let before = server.dump().await;
    let path = format!("{KEYS}{}/revoke", id(&tree.root));
    let request = server.request(Method::POST, &path, &token).header("if-match", "\"9\"");
    Response::to(request.json(&json!({ "descendants": true }))).await.assert_problem(412);
    let bob = server.token("bob");
    server.revoke(id(&tree.root), &bob, json!({ "descendants": true })).await.assert_problem(404);
    server.revoke(id(&tree.root), &token, json!({ "descendants": "yes" })).await.assert_violations(&["/descendants"]);
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn revoke_concurrent_with_creates_leaves_no_descendant() {
    let (server, token) = alice_with_scopes().await;
    for _ in 0..3 {
        let root = key_with_scopes(&server, &token).await;
        let child = key_with_scopes(&server, secret(&root)).await;
        let body = json!({ "name": "k", "scopes": ["api-keys:read", "api-keys:write"] });
        let creates = (0..64).map(|n| server.create(secret(if n % 2 == 0 { &root } else { &child }), body.clone()));
        let mut creates: FuturesUnordered<_> = creates.collect();
        let first = creates.next().await.unwrap();
        let revoke = server.revoke(id(&root), &token, json!({ "descendants": true }));
        let (rest, revoked) = tokio::join!(creates.collect::<Vec<_>>(), revoke);
        assert_eq!(revoked.status, 200, "{}", revoked.text);
        for response in rest.into_iter().chain([first]) {
            match response.status.as_u16() {
                201 => assert!(server.get(KEYS, secret(&response.body)).await.status == 401, "{}", response.text),
                401 => response.assert_invalid_token(),
                _ => panic!("{}", response.text),
            }
        }
        let alive = "SELECT 1 FROM api_keys WHERE creation_actor_key_id IS NOT NULL AND revoked_at IS NULL";
        assert_eq!(server.rows(alive).await.len(), 0);
    }
}

#[tokio::test]
async fn revoke_of_a_chain_of_300_keys_reaches_its_end() {
    let (server, token) = alice_with_scopes().await;
    let root = key_with_scopes(&server, &token).await;
    let mut last = root.clone();
    for _ in 0..299 {
        last = key_with_scopes(&server, secret(&last)).await;
    }
    let response = server.revoke(id(&root), &token, json!({ "descendants": true })).await;
    assert_eq!(
        (response.status.as_u16(), &response.body["revoked_descendants"]),
        (200, &json!(299)),
        "{}",
        response.text
    );
    server.get(KEYS, secret(&last)).await.assert_invalid_token();
    assert_eq!(server.rows("SELECT 1 FROM api_keys WHERE revoked_at IS NULL").await.len(), 0);
    assert_eq!(server.rows("SELECT 1 FROM audit_events WHERE action = 'revoked'").await.len(), 300);
}
