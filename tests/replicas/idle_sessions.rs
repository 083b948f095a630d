//! Idle sessions: a limit of the role does not apply to mintkey's sessions, whose own setting is stronger.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::cluster::{Cluster, LISTENING, tokens};
use crate::support::secret;

const LIMIT: &str = "idle_session_timeout = '1s'";

/// The start of the oldest sessions of a user of the database, by whether they listen.
fn oldest_sessions(cluster: &Cluster, user: &str) -> String {
    cluster.query(&format!(
        "SELECT string_agg(started::text, ' ') FROM (SELECT min(backend_start) AS started FROM pg_stat_activity \
         WHERE datname = '{}' AND usename = '{user}' GROUP BY {LISTENING} ORDER BY 1) AS oldest",
        cluster.database
    ))
}

#[tokio::test]
async fn idle_session_timeout_of_role_does_not_end_sessions() {
    let cluster = Cluster::new();
    let role = format!("idle_{}", cluster.database);
    cluster.query(&format!("CREATE ROLE {role} LOGIN SUPERUSER; ALTER ROLE {role} SET {LIMIT}"));
    let url = cluster.postgres.url(&cluster.database).replacen("postgres@", &format!("{role}@"), 1);
    let server = cluster.replica_with_url(&url, &[]);
    let (gateway, alice) = tokens(&server);
    let keys = join_all((0..20).map(|n| server.create_key_from(&alice, json!({ "name": format!("k{n}") })))).await;
    let before = oldest_sessions(&cluster, &role);
    // Three times the limit: the sessions of the pool are idle, except for the heartbeat's.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let verdicts = join_all(keys.iter().map(|key| server.verify(&gateway, json!({ "key": secret(key) })))).await;
    assert!(verdicts.iter().all(|verdict| verdict.body["code"] == "VALID"), "{verdicts:?}");
    assert_eq!(oldest_sessions(&cluster, &role), before);
    assert!(!server.log().contains("change feed disconnected"), "{}", server.log());
}
