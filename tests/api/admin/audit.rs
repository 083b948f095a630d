//! Audit events of all owners.

use serde_json::Value;

use super::{EVENTS_OF_ALL, deployment, revoke};
use crate::support::id;

#[tokio::test]
async fn admin_audit_list_shows_every_owner() {
    let (server, carol, keys) = deployment().await;
    assert_eq!(revoke(&server, &carol, id(&keys[3]), Value::Null).await.status, 200);
    let all = server.get(&format!("{EVENTS_OF_ALL}?limit=100"), &carol).await;
    assert_eq!(all.status, 200, "{}", all.text);
    let subjects: Vec<_> = all.body["items"].as_array().unwrap().iter().map(|e| &e["owner"]["subject"]).collect();
    assert_eq!(subjects, ["dave", "dave", "bob", "alice", "alice"]);
    let created = server.get(&format!("{EVENTS_OF_ALL}?action=created&limit=3"), &carol).await;
    assert_eq!(created.body["items"].as_array().unwrap().len(), 3);
    let next = created.next_page().unwrap();
    let rest = server.get(&next, &carol).await;
    assert_eq!(rest.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest.body["items"][0]["key_id"], keys[0]["id"]);
}
