//! Get: a key of any owner, including deleted ones.

use serde_json::{Value, json};

use super::{KEYS_OF_ALL, deployment, names, revoke};
use crate::support::{id, unknown_key};

#[tokio::test]
async fn admin_get_shows_deleted_key() {
    let (server, carol, keys) = deployment().await;
    assert_eq!(server.delete(id(&keys[3]), &server.token("dave")).await.status, 204);
    assert_eq!(names(&server, &carol, "subject=dave").await, ["other"]);
    let response = server.get(&format!("{KEYS_OF_ALL}/{}", id(&keys[3])), &carol).await;
    assert_eq!(response.status, 200, "{}", response.text);
    assert_eq!((&response.body["status"], &response.body["owner"]["subject"]), (&json!("revoked"), &json!("dave")));
    assert!(response.body["deleted_at"].is_string(), "{}", response.text);
    assert_eq!(response.body["revoked_by"], "dave");

    let alive = server.get(&format!("{KEYS_OF_ALL}/{}", id(&keys[0])), &carol).await;
    assert_eq!((alive.status.as_u16(), &alive.body["status"]), (200, &json!("active")));
    assert!(alive.body.get("deleted_at").is_none() && alive.body["secrets"].is_array());
    assert!(!alive.etag().is_empty());
    for absent in [&unknown_key(), "x"] {
        server.get(&format!("{KEYS_OF_ALL}/{absent}"), &carol).await.assert_problem(404);
        revoke(&server, &carol, absent, Value::Null).await.assert_problem(404);
    }
}
