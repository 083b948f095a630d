//! Bulk revocations of several replicas: a replica continues what another began, and each key is revoked once.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::bulk_revocations::{JOBS, MANY, finished};
use crate::cluster::Cluster;
use crate::support::eventually;

/// A copy of the only key, with an id that is older than those of keys that are created now.
const COPIES: &str = "
    INSERT INTO api_keys (id, secret_id, secret_hash, owner_issuer, owner_subject, owner_organization, name, name_words,
        scopes, metadata, enabled, secret_start, secret_last4, created_at, updated_at, revision, secret_created_at,
        secret_pepper_id, creation_actor_kind, creation_request_id, creation_changes)
    SELECT ('0190' || substr(md5(random()::text), 1, 28))::uuid, gen_random_uuid(),
        sha256(gen_random_uuid()::text::bytea), owner_issuer, owner_subject, owner_organization, name, name_words, scopes,
        metadata, enabled, secret_start, secret_last4, created_at, updated_at, revision, secret_created_at,
        secret_pepper_id, creation_actor_kind, creation_request_id, creation_changes
    FROM api_keys CROSS JOIN generate_series(2, {n});
    UPDATE owner_key_counts SET keys = {n}";

#[tokio::test]
async fn revocation_job_of_a_killed_replica_is_continued_by_another() {
    let cluster = Cluster::new();
    let (mut here, there) = (cluster.replica(&[]), cluster.replica(&[]));
    let admin = here.token_with("admin", &["--scopes", "api-keys:admin"]);
    here.create_key(&here.token("alice"), &[]).await;
    cluster.query(&COPIES.replace("{n}", &MANY.to_string()));

    let path = "/api/admin/api-keys/revoke";
    let response = here.call(Method::POST, path, &admin, json!({ "subject": "alice" })).await;
    assert_eq!(response.status, 202, "{}", response.text);
    let id = response.body["job"]["id"].as_str().unwrap();
    let state = async || there.get(&format!("{JOBS}{id}"), &admin).await.body;
    let has_revoked = async || (state().await["revoked"] != 0).then_some(());
    eventually(Duration::from_secs(60), "a revoked key", has_revoked).await;
    here.kill();
    assert_eq!(state().await["status"], "running");
    let job = finished(&there, &admin, id).await;
    assert_eq!((&job["status"], &job["examined"], &job["revoked"]), (&json!("completed"), &json!(MANY), &json!(MANY)));
    assert_revoked_once(&cluster);
}

#[tokio::test]
async fn revocation_jobs_of_two_replicas_revoke_each_key_once() {
    let cluster = Cluster::new();
    let (here, there) = (cluster.replica(&[]), cluster.replica(&[]));
    let admin = here.token_with("admin", &["--scopes", "api-keys:admin"]);
    here.create_key(&here.token("alice"), &[]).await;
    cluster.query(&COPIES.replace("{n}", &MANY.to_string()));

    let revoke = |filter| here.call(Method::POST, "/api/admin/api-keys/revoke", &admin, filter);
    let revoke_there = |filter| there.call(Method::POST, "/api/admin/api-keys/revoke", &admin, filter);
    let (first, second) = tokio::join!(
        revoke(json!({ "subject": "alice" })),
        revoke_there(json!({ "issuer": "urn:mintkey:standalone" }))
    );
    let mut revoked = 0;
    for response in [first, second] {
        let job = finished(&there, &admin, response.body["job"]["id"].as_str().unwrap()).await;
        assert_eq!((&job["status"], &job["examined"]), (&json!("completed"), &json!(MANY)));
        revoked += job["revoked"].as_i64().unwrap();
    }
    assert_eq!(revoked, MANY);
    assert_revoked_once(&cluster);
}

fn assert_revoked_once(cluster: &Cluster) {
    let events = "SELECT count(*) || ' ' || count(DISTINCT key_id) FROM key_change_events WHERE action = 'revoked'";
    assert_eq!(cluster.query(events), format!("{MANY} {MANY}"));
    assert_eq!(cluster.query("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL OR revision <> 2"), "0");
    assert_eq!(cluster.query("SELECT keys FROM owner_key_counts"), "0");
}
