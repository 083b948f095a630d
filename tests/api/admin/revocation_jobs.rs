//! Revocation jobs: what a bulk revocation reports, who sees it, and that nothing but a cancellation stops it.

use std::process::{Command, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use super::bulk_revoke::bulk_revoke;
use super::{EVENTS_OF_ALL, KEYS_OF_ALL, deployment};
use crate::revocation_jobs::{
    JOBS, MANY, all_completed, assert_each_revoked_once, end_of_job, finished, id_of_running_job, multiply_key,
};
use crate::support::{Response, Server, id, mintkey_at, run, secret, unknown_key};

/// A server with many keys of alice's, an administrator's token, and the newest of the keys.
async fn many_keys() -> (Server, String, Value) {
    let server = Server::start_with(&["--max-keys-per-owner", "unlimited"]);
    let carol = server.token_with("carol", &["--scopes", "api-keys:admin api-keys:verify"]);
    let key = server.create_key(&server.token("alice"), &[]).await;
    multiply_key(&server, "alice", MANY).await;
    (server, carol, key)
}

#[tokio::test]
async fn revocation_job_reports_what_it_did() {
    let (server, carol, keys) = deployment().await;
    let response = bulk_revoke(&server, &carol, json!({ "organization": "acme", "reason": "acme leaked" })).await;
    let job = end_of_job(&server, &carol, &response).await;
    let actor = json!({ "kind": "user", "issuer": "urn:mintkey:standalone", "subject": "carol" });
    for (field, value) in [
        ("filter", json!({ "organization": "acme" })),
        ("reason", json!("acme leaked")),
        ("descendants", json!(false)),
        ("requested_by", actor.clone()),
        ("examined", json!(3)),
        ("revoked", json!(3)),
        ("revoked_descendants", json!(0)),
    ] {
        assert_eq!(job[field], value, "{field}: {job}");
    }
    let listed = server.get(JOBS, &carol).await;
    assert_eq!(listed.body, json!({ "items": [job] }), "{}", listed.text);

    for key in &keys[..3] {
        let events = server.get(&format!("{EVENTS_OF_ALL}?action=revoked&key_id={}", id(key)), &carol).await;
        let event = &events.body["items"][0];
        assert_eq!(event["changes"], json!({ "reason": "acme leaked", "job_id": job["id"] }));
        assert_eq!((&event["actor"], &event["owner"]["organization"]), (&actor, &json!("acme")));
    }
    let event = async |action: &str| {
        let events = server.get(&format!("{EVENTS_OF_ALL}?action={action}"), &carol).await;
        assert_eq!(events.body["items"].as_array().unwrap().len(), 1, "{}", events.text);
        let event = events.body["items"][0].clone();
        assert_eq!((&event["actor"], &event["owner"]["subject"]), (&actor, &json!("carol")));
        assert_eq!(event.get("key_id"), None);
        event["changes"].clone()
    };
    let started = json!({
        "job_id": job["id"], "filter": { "organization": "acme" }, "reason": "acme leaked", "descendants": false,
    });
    assert_eq!(event("bulk_revocation_started").await, started);
    let ended = json!({ "job_id": job["id"], "status": "completed", "examined": 3, "revoked": 3 });
    assert_eq!(event("bulk_revocation_ended").await, ended);
    let job_id = job["id"].as_str().unwrap();
    for words in [["bulk revocation started", job_id], ["bulk revocation completed", job_id]] {
        server.wait_for_log(&words);
    }
    let metrics = server.get("/metrics", "").await.text;
    assert!(metrics.contains("\nmintkey_bulk_revoked_keys_total 3\n"), "{metrics}");
}

#[tokio::test]
async fn revocation_jobs_are_listed_in_pages_newest_first() {
    let (server, carol, _) = deployment().await;
    let mut ids = Vec::new();
    for subject in ["alice", "bob", "unknown"] {
        let response = bulk_revoke(&server, &carol, json!({ "subject": subject })).await;
        ids.insert(0, end_of_job(&server, &carol, &response).await["id"].clone());
    }
    let ids_of = |page: &Response| -> Vec<Value> {
        page.body["items"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect()
    };
    let first = server.get(&format!("{JOBS}?limit=2"), &carol).await;
    assert_eq!(ids_of(&first), ids[..2]);
    let cursor = first.body["next_cursor"].as_str().unwrap();
    let second = server.get(&format!("{JOBS}?limit=2&cursor={cursor}"), &carol).await;
    assert_eq!((ids_of(&second), second.body.get("next_cursor")), (ids[2..].to_vec(), None));
}

#[tokio::test]
async fn revocation_job_compares_created_before_to_the_microsecond() {
    let (server, carol, keys) = deployment().await;
    let created: DateTime<Utc> = keys[1]["created_at"].as_str().unwrap().parse().unwrap();
    for (before, revoked) in [(created, 1), (created + TimeDelta::microseconds(1), 1)] {
        let filter = json!({ "created_before": before, "organization": "acme" });
        let job = end_of_job(&server, &carol, &bulk_revoke(&server, &carol, filter).await).await;
        assert_eq!(job["revoked"], revoked, "{before}");
    }
    assert_eq!(super::names(&server, &carol, "status=active").await, ["other", "build"]);
}

#[tokio::test]
async fn revocation_job_beyond_the_reach_is_not_found() {
    let (server, carol, keys) = deployment().await;
    let (scopes, organization) = (["--scopes", "api-keys:admin"], ["--organization", "acme"]);
    let of_acme = server.token_with("dan", &[&scopes[..], &organization].concat());
    let everything = json!({ "created_before": "2090-01-01T00:00:00Z" });
    let of_issuer = end_of_job(&server, &carol, &bulk_revoke(&server, &carol, json!({ "subject": "x" })).await).await;
    let own = end_of_job(&server, &of_acme, &bulk_revoke(&server, &of_acme, everything).await).await;
    assert_eq!(own["revoked"], 3);
    assert_eq!(super::names(&server, &carol, "status=active").await, ["other"]);

    assert_eq!(server.get(JOBS, &of_acme).await.body, json!({ "items": [own] }));
    assert_eq!(server.get(JOBS, &carol).await.body, json!({ "items": [own, of_issuer] }));
    let before = server.dump().await;
    for id in [id(&of_issuer), id(&keys[0]), &unknown_key()] {
        server.get(&format!("{JOBS}{id}"), &of_acme).await.assert_problem(404);
        server.call(Method::POST, &format!("{JOBS}{id}/cancel"), &of_acme, Value::Null).await.assert_problem(404);
    }
    let again = server.call(Method::POST, &format!("{JOBS}{}/cancel", id(&own)), &carol, Value::Null).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &own), "a finished job stays as it is");
    assert_eq!(server.dump().await, before);
}

#[tokio::test]
async fn revocation_job_that_is_canceled_stops() {
    let (server, carol, _) = many_keys().await;
    let response = bulk_revoke(&server, &carol, json!({ "subject": "alice" }));
    let cancel = async {
        let id = id_of_running_job(&server).await;
        server.call(Method::POST, &format!("{JOBS}{id}/cancel"), &carol, Value::Null).await
    };
    let (response, canceled) = tokio::join!(response, cancel);
    assert_eq!((response.status.as_u16(), canceled.status.as_u16()), (202, 200), "{}", canceled.text);
    assert_eq!(canceled.body["status"], "canceled");
    let revoked = canceled.body["revoked"].as_i64().unwrap();
    assert!((1..MANY).contains(&revoked), "{revoked}");

    // Another job runs afterwards.
    end_of_job(&server, &carol, &bulk_revoke(&server, &carol, json!({ "subject": "unknown" })).await).await;
    assert_eq!(server.get(&format!("{JOBS}{}", id(&canceled.body)), &carol).await.body, canceled.body);
    assert_eq!(server.count("api_keys WHERE revoked_at IS NOT NULL").await, revoked);
    assert_eq!(server.count("key_change_events WHERE action = 'revoked'").await, revoked);
    let ended = server.get(&format!("{EVENTS_OF_ALL}?action=bulk_revocation_ended"), &carol).await;
    assert_eq!(ended.body["items"][1]["changes"]["status"], "canceled", "{}", ended.text);
}

#[tokio::test]
async fn revocation_job_continues_after_sigterm_and_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &[]);
    let carol = server.token_with("carol", &["--scopes", "api-keys:admin"]);
    server.create_key(&server.token("alice"), &[]).await;
    multiply_key(&server, "alice", MANY).await;

    let request = bulk_revoke(&server, &carol, json!({ "subject": "alice" }));
    let (_, job) = tokio::join!(request, id_of_running_job(&server));
    assert!(server.terminate().success());
    server.wait_for_log(&["bulk revocation interrupted"]);
    let revoked = async |server: &Server| server.count("api_keys WHERE revoked_at IS NOT NULL").await;
    let at_first = revoked(&server).await;

    let mut server = Server::start_in(directory.path(), &[]);
    server.wait_for_log(&["bulk revocation resumed"]);
    server.kill();
    let at_second = revoked(&server).await;
    assert!(0 < at_first && at_first < at_second && at_second < MANY, "{at_first} {at_second}");
    assert_eq!(server.count("key_change_events WHERE action = 'revoked'").await, at_second);

    let server = Server::start_in(directory.path(), &[]);
    let finished = finished(&server, &carol, &job).await;
    assert_eq!(
        (&finished["status"], &finished["examined"], &finished["revoked"]),
        (&json!("completed"), &json!(MANY), &json!(MANY))
    );
    assert_each_revoked_once(&server, "alice", MANY).await;
}

#[tokio::test]
async fn revocation_job_leaves_verifications_and_creates_their_turn() {
    let (server, carol, newest) = many_keys().await;
    let bob = server.token("bob");
    let spared = server.create_key(&bob, &[]).await;
    for key in [&newest, &spared] {
        assert_eq!(server.verify_code(&carol, secret(key)).await, "VALID");
    }
    let request = bulk_revoke(&server, &carol, json!({ "subject": "alice" }));
    let meanwhile = async {
        let job = id_of_running_job(&server).await;
        assert_eq!(server.verify_code(&carol, secret(&newest)).await, "REVOKED", "as soon as it is revoked");
        let mut rounds = 0;
        loop {
            assert_eq!(server.verify_code(&carol, secret(&spared)).await, "VALID");
            let created = server.create_key(&bob, &[]).await;
            assert_eq!(server.verify_code(&carol, secret(&created)).await, "VALID");
            rounds += 1;
            let job = server.get(&format!("{JOBS}{job}"), &carol).await;
            if job.body["status"] != "running" {
                break rounds;
            }
        }
    };
    let (response, rounds) = tokio::join!(request, meanwhile);
    assert!(rounds > 1, "the job ran meanwhile");
    assert_eq!(end_of_job(&server, &carol, &response).await["revoked"], MANY);
    assert_each_revoked_once(&server, "alice", MANY).await;
}

#[tokio::test]
async fn revocation_job_examines_no_key_that_is_created_later() {
    let (server, carol, _) = many_keys().await;
    let alice = server.token("alice");
    let request = bulk_revoke(&server, &carol, json!({ "subject": "alice" }));
    let create = async {
        id_of_running_job(&server).await;
        server.create_key(&alice, &[]).await
    };
    let (response, later) = tokio::join!(request, create);
    let job = end_of_job(&server, &carol, &response).await;
    assert_eq!((&job["examined"], &job["revoked"]), (&json!(MANY), &json!(MANY)));
    assert_eq!(server.verify_code(&carol, secret(&later)).await, "VALID");
}

#[tokio::test]
async fn command_line_revokes_matching_keys() {
    let (server, carol, keys) = deployment().await;
    let command = |arguments: &[&str]| run(mintkey_at(&server.data).args(["keys", "revoke-matching"]).args(arguments));
    let before = server.dump().await;
    assert!(!command(&[]).status.success(), "a filter is required");
    assert!(!command(&["--reason", "r"]).status.success());
    let counted = command(&["--organization", "acme", "--dry-run", "--json"]);
    let counted: Value = serde_json::from_slice(&counted.stdout).unwrap();
    assert_eq!(counted, json!({ "matched": 3, "descendants": 0, "complete": true }));
    assert_eq!(server.dump().await, before);

    let output = command(&["--organization", "acme", "--reason", "acme leaked", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let job: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&job["status"], &job["revoked"]), (&json!("completed"), &json!(3)));
    assert_eq!(job["requested_by"]["kind"], "operator");
    assert_eq!(super::names(&server, &carol, "status=active").await, ["other"]);
    let shown = server.get(&format!("{KEYS_OF_ALL}/{}", id(&keys[0])), &carol).await;
    assert_eq!(shown.body["revoke_reason"], "acme leaked");
    server.get(&format!("{JOBS}{}", id(&job)), &carol).await.assert_problem(404);
}

#[tokio::test]
async fn command_line_revocation_that_is_interrupted_is_continued_by_serve() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &[]);
    server.create_key(&server.token("alice"), &[]).await;
    multiply_key(&server, "alice", MANY).await;
    assert!(server.terminate().success());

    let mut command = mintkey_at(directory.path());
    command.args(["keys", "revoke-matching", "--owner", "alice"]);
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    id_of_running_job(&server).await;
    assert!(run(Command::new("kill").arg(process.id().to_string())).status.success());
    let output = process.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && errors.contains("`mintkey serve` continues job"), "{errors}");
    let revoked = server.count("api_keys WHERE revoked_at IS NOT NULL").await;
    assert!((1..MANY).contains(&revoked), "{revoked}");

    let server = Server::start_in(directory.path(), &[]);
    server.wait_for_log(&["bulk revocation resumed"]);
    all_completed(&server).await;
    assert_each_revoked_once(&server, "alice", MANY).await;
}
