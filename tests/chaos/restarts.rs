//! Restarts: PostgreSQL is restarted again and again under load, and once it is ready, no request is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::cluster::{Cluster, tokens};
use crate::history::random;
use crate::setting;
use crate::support::{self, KEYS, Response, VERIFY, id, secret};

/// Requests whose 503 counts: `pg_isready` had succeeded before the request was sent, and the next stop began after its
/// response had arrived. Every other request may be refused.
#[derive(Default)]
struct Watch {
    /// Even while PostgreSQL is ready. Incremented before each stop, and after the `pg_isready` that succeeds.
    epoch: AtomicU64,
    while_ready: AtomicU64,
    refused: AtomicU64,
    unwatched: AtomicU64,
    done: AtomicBool,
}

impl Watch {
    fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the body if the request succeeded.
    async fn send(&self, what: &str, request: RequestBuilder) -> Option<Value> {
        let (before, started) = (self.epoch.load(Ordering::SeqCst), Instant::now());
        let response = Response::to(request).await;
        let is_ready = before.is_multiple_of(2) && self.epoch.load(Ordering::SeqCst) == before;
        let count = if is_ready { &self.while_ready } else { &self.unwatched };
        count.fetch_add(1, Ordering::Relaxed);
        assert!([200, 201, 503].contains(&response.status.as_u16()), "{what}: {}", response.text);
        if response.status == 503 && is_ready {
            self.refused.fetch_add(1, Ordering::Relaxed);
            println!("{what} refused after {:?}: {}", started.elapsed(), response.body["detail"]);
        }
        response.status.is_success().then_some(response.body)
    }
}

struct Caller {
    client: Client,
    urls: Vec<String>,
    gateway: String,
    alice: String,
}

impl Caller {
    fn request(&self, method: Method, path: &str, credential: &str) -> RequestBuilder {
        let url = &self.urls[random(self.urls.len())];
        self.client.request(method, format!("{url}{path}")).bearer_auth(credential)
    }

    fn verify(&self, secret: &str) -> RequestBuilder {
        self.request(Method::POST, VERIFY, &self.gateway).json(&json!({ "key": secret }))
    }

    /// Creates, verifies, lists, updates and revokes keys.
    async fn run(self, watch: Arc<Watch>) {
        while !watch.done.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1 + random(10) as u64)).await;
            let create = self.request(Method::POST, KEYS, &self.alice).json(&json!({ "name": "k" }));
            let Some(key) = watch.send("create", create).await else { continue };
            let path = format!("{KEYS}{}", id(&key));
            for _ in 0..4 {
                if let Some(verdict) = watch.send("verify", self.verify(secret(&key))).await {
                    assert_eq!(verdict["code"], "VALID");
                }
            }
            watch.send("list", self.request(Method::GET, &format!("{KEYS}?limit=5"), &self.alice)).await;
            let update = self.request(Method::PATCH, &path, &self.alice).json(&json!({ "name": "renamed" }));
            watch.send("update", update).await;
            watch.send("revoke", self.request(Method::POST, &format!("{path}/revoke"), &self.alice)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_postgresql_refuses_nothing_once_ready() {
    let cluster = Cluster::with_own_postgres();
    let servers: Vec<_> = (0..2).map(|_| cluster.replica(&["--max-keys-per-owner", "unlimited"])).collect();
    let (gateway, alice) = tokens(&servers[0]);
    let watch = Arc::new(Watch::default());
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let urls = servers.iter().map(|server| server.url.clone()).collect();
            let caller = Caller { client: support::client(), urls, gateway: gateway.clone(), alice: alice.clone() };
            tokio::spawn(caller.run(watch.clone()))
        })
        .collect();
    let restarts = setting("CHAOS_RESTARTS", 20);
    for restart in 0..restarts {
        tokio::time::sleep(Duration::from_millis(500 + random(1500) as u64)).await;
        watch.next_epoch();
        if restart % 2 == 0 {
            cluster.postgres.stop_immediately()
        } else {
            cluster.postgres.stop_fast()
        }
        tokio::time::sleep(Duration::from_millis(random(1500) as u64)).await;
        cluster.postgres.start_again();
        watch.next_epoch();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    watch.done.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let (watched, refused, unwatched) = (count(&watch.while_ready), count(&watch.refused), count(&watch.unwatched));
    println!("{restarts} restarts: {refused} of {watched} requests refused, {unwatched} others while it was down");
    assert!(watched > 20 * restarts, "too few requests to show anything: {watched}");
    assert_eq!(refused, 0);
    for server in &servers {
        assert!(!server.log().contains("ERROR"), "{}", server.log());
    }
}
