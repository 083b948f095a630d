//! Revoke: one key of any owner.

use serde_json::json;

use super::{EVENTS_OF_ALL, deployment, revoke};
use crate::support::{KEYS, id, secret};

#[tokio::test]
async fn admin_revoke_records_administrator_as_actor() {
    let (server, carol, keys) = deployment().await;
    let response = revoke(&server, &carol, id(&keys[0]), json!({ "reason": "leaked" })).await;
    assert_eq!(response.status, 200, "{}", response.text);
    assert_eq!((&response.body["status"], &response.body["revoked_by"]), (&json!("revoked"), &json!("carol")));
    assert_eq!(response.body["revoke_reason"], "leaked");
    assert_eq!(response.body["owner"]["subject"], "alice");
    server.get(KEYS, secret(&keys[0])).await.assert_problem(401);
    let before = server.dump().await;
    let again = revoke(&server, &carol, id(&keys[0]), json!({ "reason": "again" })).await;
    assert_eq!((again.status.as_u16(), &again.text), (200, &response.text));
    assert_eq!(server.dump().await, before);

    let events = server.get(&format!("{EVENTS_OF_ALL}?key_id={}", id(&keys[0])), &carol).await;
    let event = &events.body["items"][0];
    assert_eq!((&event["action"], &event["actor"]["subject"]), (&json!("revoked"), &json!("carol")));
    assert_eq!((&event["owner"]["subject"], &event["changes"]), (&json!("alice"), &json!({ "reason": "leaked" })));
    let alice = server.token_with("alice", &["--organization", "acme"]);
    let own = server.get(&format!("{KEYS}{}", id(&keys[0])), &alice).await;
    assert_eq!(own.body["revoked_by"], "carol");
}
