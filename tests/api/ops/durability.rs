//! Durability: acknowledged keys survive SIGKILL, SIGTERM and restarts.

mod kill;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use mintkey::domain::secret::Secret;
use mintkey::domain::secret_hash::Peppers;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server};
use crate::wire;

const KILLS: usize = 20;
const CONNECTIONS: usize = 32;
const CREATES: usize = 500;
/// The load creates more keys than one owner may have by default.
const UNLIMITED: [&str; 2] = ["--max-keys-per-owner", "unlimited"];

/// State shared by the clients: the current URL of the server, and the acknowledged keys.
#[derive(Default)]
struct Load {
    url: RwLock<String>,
    acknowledged: Mutex<Vec<Value>>,
    sent: AtomicUsize,
    done: AtomicBool,
}

impl Load {
    fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Creates keys over one connection until the test ends. A failed request is not acknowledged.
    async fn create(self: Arc<Self>, token: String) {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        while !self.done.load(Ordering::Relaxed) {
            let url = format!("{}{KEYS}", self.url.read().unwrap());
            let name = format!("key {}", self.sent.fetch_add(1, Ordering::Relaxed));
            let request = client.post(url).bearer_auth(&token).json(&json!({ "name": name }));
            let Ok(response) = request.send().await else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            // On a slow disk, requests can wait for the writer longer than the statement timeout, and get 503.
            assert!([201, 503].contains(&response.status().as_u16()), "{}", response.status());
            if response.status() == 201
                && let Ok(key) = response.json().await
            {
                self.acknowledged.lock().unwrap().push(key);
            }
        }
    }
}

fn random(below: usize) -> usize {
    RandomState::new().build_hasher().finish() as usize % below
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_loses_no_acknowledged_key() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &UNLIMITED);
    let token = server.token("alice");
    let load = Arc::new(Load::default());
    *load.url.write().unwrap() = server.url.clone();
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(load.clone().create(token.clone()))).collect();

    for kill in 1..=KILLS {
        let target = (CREATES * kill / KILLS).max(load.acknowledged()) + random(20);
        let deadline = Instant::now() + Duration::from_secs(60);
        while load.acknowledged() < target {
            assert!(Instant::now() < deadline, "no keys are made any more:\n{}", server.log());
            tokio::time::sleep(Duration::from_micros(random(2_000) as u64)).await;
        }
        server.kill();
        server = Server::start_in(directory.path(), &UNLIMITED);
        *load.url.write().unwrap() = server.url.clone();
    }
    load.done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let acknowledged = std::mem::take(&mut *load.acknowledged.lock().unwrap());
    assert!(acknowledged.len() >= CREATES);
    assert_complete(&server, &acknowledged).await;
    assert_consistent(&server).await;
}

/// Checks that each acknowledged key has exactly one secret, with the right hash, and exactly one event.
async fn assert_complete(server: &Server, acknowledged: &[Value]) {
    let master = std::fs::read_to_string(server.data.join("master.secret")).unwrap();
    let peppers = Peppers::derive(&master).unwrap();
    let rows = server
        .rows(
            "SELECT k.id AS id, k.name AS name, s.hash AS hash, s.last4 AS last4, \
             (SELECT count(*) FROM secrets WHERE key_id = k.id) AS secrets, \
             (SELECT count(*) FROM audit_events WHERE key_id = k.id AND action = 'created') AS events \
             FROM api_keys k JOIN secrets s ON s.key_id = k.id",
        )
        .await;
    let stored: HashMap<_, _> = rows.iter().map(|row| (row.try_get::<uuid::Uuid>("", "id").unwrap(), row)).collect();
    for key in acknowledged {
        let row = stored.get(&key["id"].as_str().unwrap().parse().unwrap()).unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!(row.try_get::<String>("", "name").unwrap(), key["name"].as_str().unwrap());
        assert_eq!(row.try_get::<i64>("", "secrets").unwrap(), 1);
        assert_eq!(row.try_get::<i64>("", "events").unwrap(), 1);
        let secret = Secret::parse(key["key"].as_str().unwrap()).unwrap();
        assert_eq!(row.try_get::<Vec<u8>>("", "hash").unwrap(), peppers.newest().hash(&secret).0);
    }
}

async fn assert_consistent(server: &Server) {
    for orphans in [
        "SELECT id FROM api_keys WHERE id NOT IN (SELECT key_id FROM secrets)",
        "SELECT id FROM api_keys WHERE id NOT IN (SELECT key_id FROM audit_events)",
        "SELECT id FROM secrets WHERE key_id NOT IN (SELECT id FROM api_keys)",
        "SELECT id FROM audit_events WHERE key_id NOT IN (SELECT id FROM api_keys)",
        "SELECT subject FROM owner_key_counts WHERE keys <> (SELECT count(*) FROM api_keys)",
        "SELECT key_id FROM secrets GROUP BY key_id HAVING count(*) > 1",
        "SELECT key_id FROM audit_events GROUP BY key_id HAVING count(*) > 1",
    ] {
        assert_eq!(server.rows(orphans).await.len(), 0, "{orphans}");
    }
    server.assert_integrity().await;
    let [keys, secrets, events] = server.counts().await;
    assert!(keys == secrets && keys == events, "{keys} {secrets} {events}");
}

#[tokio::test]
async fn sigterm_finishes_request_in_flight() {
    let mut server = Server::start();
    let token = server.token("alice");
    let body = r#"{"name":"slow"}"#;
    let (first, rest) = body.split_at(5);

    let mut stream = wire::connect(&server);
    let head = format!("{}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", wire::head(&token), body.len());
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "the body is being read: {line}");
    reader.read_line(&mut line).unwrap();
    stream.write_all(first.as_bytes()).unwrap();

    server.sigterm();
    server.wait_for_log(&["SIGTERM"]);
    wait_until_refused(&server);
    stream.write_all(rest.as_bytes()).unwrap();
    drop(reader);
    let reply = wire::reply(stream);
    assert_eq!(reply.status, 201, "{}", reply.head);

    let status = server.exit_within(Duration::from_secs(10)).expect("the process ends");
    assert_eq!(status.code(), Some(0));
    server.wait_for_log(&["server stopped"]);
    assert!(!server.data.join("mintkey.db-wal").exists(), "the log is folded into the database");
    let row = &server.rows("SELECT id FROM api_keys WHERE name = 'slow'").await[0];
    assert_eq!(row.try_get::<uuid::Uuid>("", "id").unwrap().to_string(), reply.body["id"].as_str().unwrap());
    assert_eq!(server.counts().await, [1, 1, 1]);
}

fn wait_until_refused(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while std::net::TcpStream::connect(server.url.trim_start_matches("http://")).is_ok() {
        assert!(Instant::now() < deadline, "connections are still accepted");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn sigterm_does_not_wait_for_idle_connections() {
    let mut server = Server::start();
    let token = server.token("alice");
    let silent = wire::connect(&server);
    // Connections are accepted in order: a response on this one means that the idle one was accepted.
    let client = reqwest::Client::new();
    let kept_alive = client.post(format!("{}{KEYS}", server.url)).bearer_auth(&token).json(&json!({ "name": "x" }));
    assert_eq!(Response::to(kept_alive).await.status, 201);

    server.sigterm();
    let status = server.exit_within(Duration::from_secs(10)).expect("the process ends");
    assert_eq!(status.code(), Some(0));
    server.wait_for_log(&["server stopped"]);
    assert!(!server.log().contains("dropped in-flight"), "no request was in flight:\n{}", server.log());
    drop((client, silent));
}

#[tokio::test]
async fn sigterm_drops_endless_request_and_exits_0() {
    let mut server = Server::start_with(&["--shutdown-timeout", "500ms"]);
    let token = server.token("alice");
    let mut stream = wire::connect(&server);
    stream
        .write_all(format!("{}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n", wire::head(&token)).as_bytes())
        .unwrap();
    let mut line = String::new();
    BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    server.sigterm();
    let status = server.exit_within(Duration::from_secs(10)).expect("the process ends");
    assert_eq!(status.code(), Some(0));
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn restart_keeps_keys() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &[]);
    let token = server.token_with("alice", &["--scopes", "api-keys:write"]);
    let key = server.create_key(&token, &["api-keys:write"]).await;
    assert_eq!(server.terminate().code(), Some(0));

    let restarted = Server::start_in(directory.path(), &[]);
    for credential in [&*token, key["key"].as_str().unwrap()] {
        let request = restarted.request(Method::POST, KEYS, credential).json(&json!({ "name": "y" }));
        assert_eq!(Response::to(request).await.status, 201);
    }
    assert_eq!(restarted.counts().await, [3, 3, 3]);
}
