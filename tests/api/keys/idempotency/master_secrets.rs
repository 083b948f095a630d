//! Master secrets: a repeated request gets the first response from every replica that shares a master secret with the
//! one that served it.

use serde_json::{Value, json};

use super::{IDEMPOTENCY_KEY, assert_created, assert_replayed, create, rotate};
use crate::support::Server;

const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";

#[tokio::test]
async fn repeated_request_is_replayed_under_another_newest_secret() {
    let both = format!("{NEW}\n{OLD}");
    let reversed = format!("{OLD}\n{NEW}");
    for (first, second) in [(OLD, &*both), (OLD, &*reversed), (&*reversed, &*both), (&*both, &*reversed)] {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Server::start_in(directory.path(), &["--master-secret", first]);
        let alice = server.token("alice");
        let created = create(&server, &alice, IDEMPOTENCY_KEY, &json!({ "name": "k" })).await;
        assert_created(&created);
        let rotated = rotate(&server, &alice, &created.body, IDEMPOTENCY_KEY, &Value::Null).await;
        assert_created(&rotated);
        assert!(server.terminate().success());

        let server = Server::start_in(directory.path(), &["--master-secret", second]);
        let before = server.dump().await;
        assert_replayed(&create(&server, &alice, IDEMPOTENCY_KEY, &json!({ "name": "k" })).await, &created);
        assert_replayed(&rotate(&server, &alice, &created.body, IDEMPOTENCY_KEY, &Value::Null).await, &rotated);
        let reused = create(&server, &alice, IDEMPOTENCY_KEY, &json!({ "name": "other" })).await;
        reused.assert_problem_type(422, "idempotency-key-reused");
        assert_eq!(server.dump().await, before, "{first:?} then {second:?}");
        assert_eq!(server.counts().await, [1, 2, 2]);
    }
}
