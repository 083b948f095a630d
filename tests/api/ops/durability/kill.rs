//! Kill: clients create, change, rotate, revoke and delete keys while the process is killed repeatedly. Every
//! acknowledged change is stored, and key, secrets and audit events are consistent.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{KEYS, Server, id, secret};

const CONNECTIONS: usize = 16;
const CHANGES: usize = 100;

/// The state of a key as its client knows it.
struct ClientKey {
    id: Uuid,
    /// Newest first.
    secrets: Vec<String>,
    name: String,
    revoked: bool,
    deleted: bool,
    /// True if the last change was requested and not acknowledged: it may have been committed or not.
    in_doubt: bool,
}

#[derive(Default)]
struct Load {
    url: RwLock<String>,
    token: String,
    acknowledged: AtomicUsize,
    done: AtomicBool,
}

/// `make chaos` sets a larger number.
fn kills() -> usize {
    std::env::var("CHAOS_KILLS").map_or(8, |kills| kills.parse().unwrap())
}

fn random(below: usize) -> usize {
    RandomState::new().build_hasher().finish() as usize % below
}

impl Load {
    /// Returns the body of the response, or `None` if the outcome is unknown: no response, or a 503.
    async fn call(&self, client: &Client, method: Method, path: &str, body: Value) -> Option<Value> {
        let url = format!("{}{KEYS}{path}", self.url.read().unwrap());
        let response = client.request(method, url).bearer_auth(&self.token).json(&body).send().await.ok()?;
        let status = response.status().as_u16();
        assert!([200, 201, 204, 503].contains(&status), "{path}: {status}");
        let text = response.text().await.ok()?;
        (status != 503).then(|| self.acknowledged.fetch_add(1, Ordering::Relaxed))?;
        Some(if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    /// Creates keys one after another and changes each until it is deleted or in doubt.
    async fn run_client(self: Arc<Self>) -> Vec<ClientKey> {
        let client = Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        let mut keys = Vec::new();
        while !self.done.load(Ordering::Relaxed) {
            let body = json!({ "name": "n", "scopes": ["api-keys:read"] });
            let Some(made) = self.call(&client, Method::POST, "", body).await else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let mut key = ClientKey {
                id: id(&made).parse().unwrap(),
                secrets: vec![secret(&made).to_owned()],
                name: "n".to_owned(),
                revoked: false,
                deleted: false,
                in_doubt: false,
            };
            while !key.in_doubt && !key.deleted && random(10) > 0 && !self.done.load(Ordering::Relaxed) {
                let acknowledged = self.change(&client, &mut key).await;
                key.in_doubt = acknowledged.is_none();
            }
            keys.push(key);
        }
        keys
    }

    async fn change(&self, client: &Client, key: &mut ClientKey) -> Option<()> {
        let path = key.id.to_string();
        match random(8) {
            0 => {
                self.call(client, Method::DELETE, &path, json!({})).await?;
                (key.revoked, key.deleted) = (true, true);
            }
            1 => {
                self.call(client, Method::POST, &format!("{path}/revoke"), json!({})).await?;
                key.revoked = true;
            }
            _ if key.revoked => {}
            2..5 => {
                let new = self.call(client, Method::POST, &format!("{path}/rotate"), json!({})).await?;
                key.secrets.insert(0, secret(&new).to_owned());
            }
            _ => {
                let name = format!("n {}", random(1_000_000));
                self.call(client, Method::PATCH, &path, json!({ "name": name })).await?;
                key.name = name;
            }
        }
        Some(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_keeps_key_secrets_and_audit_consistent() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &["--max-keys-per-owner", "unlimited"]);
    let token = server.token_with("alice", &["--scopes", "api-keys:read"]);
    let load = Arc::new(Load { token, ..Load::default() });
    *load.url.write().unwrap() = server.url.clone();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(load.clone().run_client())).collect();

    for _ in 0..kills() {
        let target = load.acknowledged.load(Ordering::Relaxed) + CHANGES + random(20);
        let deadline = Instant::now() + Duration::from_secs(60);
        while load.acknowledged.load(Ordering::Relaxed) < target {
            assert!(Instant::now() < deadline, "nothing is changed any more:\n{}", server.log());
            tokio::time::sleep(Duration::from_micros(random(2_000) as u64)).await;
        }
        server.kill();
        server = Server::start_in(directory.path(), &["--max-keys-per-owner", "unlimited"]);
        *load.url.write().unwrap() = server.url.clone();
    }
    load.done.store(true, Ordering::Relaxed);
    let mut keys = Vec::new();
    for client in clients {
        keys.extend(client.await.unwrap());
    }
    assert!(keys.iter().any(|key| key.in_doubt) && keys.iter().any(|key| key.deleted), "the kills hit something");
    assert_consistent(&server).await;
    assert_acknowledged_state(&server, &keys).await;
    assert_acknowledged_secrets(&server, &keys).await;
}

/// Checks every key in the database, acknowledged or not.
async fn assert_consistent(server: &Server) {
    let events =
        |action: &str| format!("(SELECT count(*) FROM audit_events WHERE key_id = k.id AND action = '{action}')");
    let secrets = "(SELECT count(*) FROM secrets WHERE key_id = k.id)";
    let newest = "(SELECT last4 FROM secrets WHERE key_id = k.id ORDER BY id DESC LIMIT 1)";
    // The creation and each change are one request, with one or two events.
    let requests = "(SELECT count(DISTINCT request_id) FROM audit_events WHERE key_id = k.id AND action <> 'refused')";
    for inconsistency in [
        format!("{} <> 1", events("created")),
        format!("({} = 1) <> (revoked_at IS NOT NULL)", events("revoked")),
        format!("({} = 1) <> (deleted_at IS NOT NULL)", events("deleted")),
        "deleted_at IS NOT NULL AND revoked_at IS NULL".to_owned(),
        format!("{secrets} <> 1 + {}", events("rotated")),
        "1 <> (SELECT count(*) FROM secrets WHERE key_id = k.id AND expires_at IS NULL)".to_owned(),
        format!("secret_last4 <> {newest}"),
        format!("revision <> {requests}"),
    ] {
        let keys = server.rows(&format!("SELECT id FROM api_keys k WHERE {inconsistency}")).await;
        assert_eq!(keys.len(), 0, "{inconsistency}");
    }
    for orphans in ["secrets", "audit_events"] {
        let orphans = format!("{orphans} WHERE key_id NOT IN (SELECT id FROM api_keys)");
        assert_eq!(server.count(&orphans).await, 0, "{orphans}");
    }
    server.assert_integrity().await;
}

async fn assert_acknowledged_state(server: &Server, keys: &[ClientKey]) {
    let rows = server
        .rows(
            "SELECT id, name, CAST(CASE WHEN revoked_at IS NOT NULL THEN 1 ELSE 0 END AS bigint) AS revoked, \
             CAST(CASE WHEN deleted_at IS NOT NULL THEN 1 ELSE 0 END AS bigint) AS deleted, \
             (SELECT count(*) FROM secrets WHERE key_id = k.id) AS secrets FROM api_keys k",
        )
        .await;
    let rows: std::collections::HashMap<Uuid, _> =
        rows.iter().map(|row| (row.try_get("", "id").unwrap(), row)).collect();
    for key in keys {
        let row = rows.get(&key.id).unwrap_or_else(|| panic!("{} is lost", key.id));
        let is = |column: &str| row.try_get::<i64>("", column).unwrap();
        let maybe_one_more = key.secrets.len() as i64..=key.secrets.len() as i64 + i64::from(key.in_doubt);
        assert!(maybe_one_more.contains(&is("secrets")), "{} has {} secrets", key.id, is("secrets"));
        assert!(is("revoked") >= i64::from(key.revoked) && is("deleted") >= i64::from(key.deleted), "{}", key.id);
        if !key.in_doubt {
            assert_eq!((is("revoked"), is("deleted")), (i64::from(key.revoked), i64::from(key.deleted)), "{}", key.id);
            assert_eq!(row.try_get::<String>("", "name").unwrap(), key.name, "{}", key.id);
        }
    }
}

async fn assert_acknowledged_secrets(server: &Server, keys: &[ClientKey]) {
    let client = Client::new();
    for key in keys {
        for (age, secret) in key.secrets.iter().enumerate() {
            let request = client.get(format!("{}{KEYS}?limit=1", server.url)).bearer_auth(secret);
            let status = request.send().await.unwrap().status().as_u16();
            if key.revoked || age > 0 {
                assert_eq!(status, 401, "{} lives on in secret {age}", key.id);
            } else if !key.in_doubt {
                assert_eq!(status, 200, "{} has lost its secret", key.id);
            }
        }
    }
}
