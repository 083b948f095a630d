//! Bulk revocations: databases that are large enough to interrupt one, and what must hold at its end.

use std::time::Duration;

use serde_json::Value;

use crate::support::database::{self, Kind};
use crate::support::{Response, Server, eventually};

pub const JOBS: &str = "/api/admin/revocation-jobs/";

/// Batches and pauses for as many keys take seconds.
pub const MANY: i64 = 8_000;

const LONG: Duration = Duration::from_secs(300);

/// An SQL expression for a new id that is older than those of keys that are created now; by [`Kind`].
const OLD_ID: [&str; 2] = [
    "unhex('0190' || hex(randomblob(4)) || '7' || substr(hex(randomblob(2)), 2) || '8' || substr(hex(randomblob(8)), 2))",
    "('0190' || substr(md5(random()::text), 1, 8) || '7' || substr(md5(random()::text), 1, 3) || '8' || substr(md5(random()::text), 1, 15))::uuid",
];

/// Copies the only key of this subject until there are `count`, with older ids.
pub async fn multiply_key(server: &Server, subject: &str, count: i64) {
    let (of_subject, copies) = (format!("owner_subject = '{subject}'"), count - 1);
    database::copy_key(server, &of_subject, OLD_ID[database::kind() as usize], copies.unsigned_abs()).await;
    server.execute(&format!("UPDATE owner_key_counts SET keys = keys + {copies} WHERE subject = '{subject}'")).await;
    assert_eq!(server.count(&format!("api_keys WHERE owner_subject = '{subject}'")).await, count);
}

/// Waits until the job that this response announces is finished, and returns it.
pub async fn end_of_job(server: &Server, admin: &str, response: &Response) -> Value {
    assert_eq!(response.status, 202, "{}", response.text);
    let id = response.body["job"]["id"].as_str().unwrap();
    assert_eq!(response.location(), Some(format!("{JOBS}{id}")));
    let job = finished(server, admin, id).await;
    assert_eq!(job["status"], "completed", "{job}");
    job
}

/// Waits until this job is finished, and returns it.
pub async fn finished(server: &Server, admin: &str, id: &str) -> Value {
    let finished = async || {
        let job = server.get(&format!("{JOBS}{id}"), admin).await;
        (job.status == 200 && !job.body["completed_at"].is_null()).then_some(job.body)
    };
    eventually(LONG, "the end of the job", finished).await
}

/// Waits until all jobs are completed.
pub async fn all_completed(server: &Server) {
    let completed = async || (server.count("revocation_jobs WHERE status <> 'completed'").await == 0).then_some(());
    eventually(LONG, "the end of the jobs", completed).await;
}

/// Waits until the newest job has revoked keys, and returns its id. It must not be finished.
pub async fn id_of_running_job(server: &Server) -> String {
    let id = if database::kind() == Kind::Sqlite { "lower(hex(id))" } else { "id::text" };
    let newest = format!("SELECT {id} AS id, status FROM revocation_jobs WHERE revoked > 0 ORDER BY created_at DESC");
    let row = eventually(LONG, "a revoked key", async || server.rows(&newest).await.into_iter().next()).await;
    assert_eq!(row.try_get::<String>("", "status").unwrap(), "running");
    row.try_get("", "id").unwrap()
}

/// Checks that all keys of this subject are revoked, each once, and that the counts say so.
pub async fn assert_each_revoked_once(server: &Server, subject: &str, count: i64) {
    let live = format!("api_keys WHERE owner_subject = '{subject}' AND revoked_at IS NULL");
    assert_eq!(server.count(&live).await, 0);
    let events = format!("key_change_events WHERE owner_subject = '{subject}' AND action = 'revoked'");
    assert_eq!(server.count(&events).await, count);
    let keys = format!("SELECT count(DISTINCT key_id) AS n FROM {events}");
    assert_eq!(server.rows(&keys).await[0].try_get::<i64>("", "n").unwrap(), count);
    let twice = format!("api_keys WHERE owner_subject = '{subject}' AND revision <> 2");
    assert_eq!(server.count(&twice).await, 0);
    assert_eq!(server.count(&format!("owner_key_counts WHERE subject = '{subject}' AND keys <> 0")).await, 0);
    for action in ["bulk_revocation_started", "bulk_revocation_ended"] {
        assert_eq!(server.count(&format!("key_change_events WHERE action = '{action}'")).await, 1, "{action}");
    }
}
