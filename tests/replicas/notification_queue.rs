//! Notification queue: while PostgreSQL accepts no notification, no change is made, and the log says so once.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, tokens, wait_for_code};
use crate::support::{eventually, id, secret};

/// The queue of 8 GB is not filled: a function in front of PostgreSQL's own fails as it does then.
const FAIL: &str = "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS \
                    $$ BEGIN RAISE 'too many notifications' USING ERRCODE = '54000'; END $$";

#[tokio::test]
async fn full_queue_is_503_and_logged_once_until_it_is_not_full() {
    let cluster = Cluster::new();
    let server = cluster.replica(&[]);
    let (gateway, alice) = tokens(&server);
    let key = server.create_key(&alice, &[]).await;
    cluster.query(&format!("ALTER DATABASE {} SET search_path = public, pg_catalog", cluster.database));
    cluster.query(FAIL);
    // New sessions have the new path.
    cluster.terminate("true");
    let refused = async || (server.revoke(id(&key), &alice, Value::Null).await.status == 503).then_some(());
    eventually(Duration::from_secs(10), "a refused revocation", refused).await;
    server.wait_for_log(&["change feed disconnected"]);
    let changes = async |status: u16| {
        let reported = async || (server.get("/readyz?for=changes", "").await.status == status).then_some(());
        eventually(Duration::from_secs(10), "readiness for changes", reported).await;
    };
    changes(503).await;
    // Ten attempts to reconnect.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let times = |line: &str| server.log().matches(line).count();
    // One outage for the ended sessions, at most, and one for the queue.
    let lines = [times("change feed disconnected"), times("the database takes no changes")];
    assert!((1..=2).contains(&lines[0]) && lines[1] == 1, "{lines:?}\n{}", server.log());
    assert_eq!(server.get("/readyz", "").await.status, 200);
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    server.revoke(id(&key), &alice, Value::Null).await.assert_problem(503);

    cluster.query("DROP FUNCTION public.pg_notify(text, text)");
    changes(200).await;
    assert_eq!(server.revoke(id(&key), &alice, Value::Null).await.status, 200);
    wait_for_code(&server, &gateway, secret(&key), "REVOKED", std::time::Instant::now()).await;
    server.wait_for_log(&["change feed reconnected"]);
}
