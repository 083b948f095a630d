//! History: records the requests and responses of clients of several replicas, and compares them with the database.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{KEYS, Server, VERIFY};

/// A key as its client knows it, with times of the client.
struct Key {
    id: String,
    secret: String,
    revocation: Revocation,
}

#[derive(Clone, Copy, PartialEq)]
enum Revocation {
    None,
    /// Requested and not acknowledged: it may have been committed or not.
    InDoubt,
    Acknowledged(Instant),
}

#[derive(Default)]
pub struct Load {
    urls: Vec<String>,
    gateway: String,
    alice: String,
    keys: Mutex<Vec<Key>>,
    pub revoked: AtomicU64,
    pub verified: AtomicU64,
    pub unavailable: AtomicU64,
    /// The longest time that a key was accepted after the response to its revocation, in microseconds.
    pub lag_micros: AtomicU64,
    /// The slowest verification, in microseconds.
    pub slowest_verify: AtomicU64,
    done: AtomicBool,
}

pub fn random(below: usize) -> usize {
    RandomState::new().hash_one(0) as usize % below
}

impl Load {
    pub fn on(servers: &[Server], gateway: String, alice: String) -> Arc<Self> {
        let urls = servers.iter().map(|server| server.url.clone()).collect();
        Arc::new(Self { urls, gateway, alice, ..Self::default() })
    }

    pub fn start(self: &Arc<Self>, creators: usize, verifiers: usize) -> Vec<tokio::task::JoinHandle<()>> {
        let creators = (0..creators).map(|_| tokio::spawn(self.clone().create_and_revoke()));
        let verifiers = (0..verifiers).map(|_| tokio::spawn(self.clone().verify()));
        creators.chain(verifiers).collect()
    }

    fn stop(&self) {
        self.done.store(true, Ordering::SeqCst);
    }

    fn url(&self) -> &str {
        &self.urls[random(self.urls.len())]
    }

    /// Returns status and body, or `None` if there was no response.
    async fn post(&self, client: &Client, credential: &str, url: String, body: Value) -> Option<(u16, Value)> {
        let response = client.post(url).bearer_auth(credential).json(&body).send().await.ok()?;
        let status = response.status().as_u16();
        assert!([200, 201, 503].contains(&status), "{status}: {}", response.text().await.unwrap_or_default());
        if status == 503 {
            self.unavailable.fetch_add(1, Ordering::Relaxed);
        }
        Some((status, response.json().await.ok()?))
    }

    async fn create_and_revoke(self: Arc<Self>) {
        let client = Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        while !self.done.load(Ordering::SeqCst) {
            let made = self.post(&client, &self.alice, format!("{}{KEYS}", self.url()), json!({ "name": "k" })).await;
            let Some((201, made)) = made else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            let (id, secret) = (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned());
            // Every replica caches the key before one of them revokes it.
            for url in &self.urls {
                self.post(&client, &self.gateway, format!("{url}{VERIFY}"), json!({ "key": secret })).await;
            }
            let index = {
                let mut keys = self.keys.lock().unwrap();
                keys.push(Key { id: id.clone(), secret, revocation: Revocation::None });
                keys.len() - 1
            };
            tokio::time::sleep(Duration::from_millis(random(50) as u64)).await;
            let url = format!("{}{KEYS}{id}/revoke", self.url());
            self.keys.lock().unwrap()[index].revocation = Revocation::InDoubt;
            if let Some((200, _)) = self.post(&client, &self.alice, url, json!({})).await {
                self.keys.lock().unwrap()[index].revocation = Revocation::Acknowledged(Instant::now());
                self.revoked.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Verifies recently created or revoked keys at every replica.
    async fn verify(self: Arc<Self>) {
        let client = Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        while !self.done.load(Ordering::SeqCst) {
            let chosen = {
                let keys = self.keys.lock().unwrap();
                let recent = keys.len().saturating_sub(1 + random(200));
                keys.get(recent).map(|key| (recent, key.secret.clone(), key.revocation))
            };
            let Some((index, secret, before)) = chosen else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            let started = Instant::now();
            let url = format!("{}{VERIFY}", self.url());
            let response = self.post(&client, &self.gateway, url, json!({ "key": secret })).await;
            let Some((200, response)) = response else { continue };
            self.verified.fetch_add(1, Ordering::Relaxed);
            self.slowest_verify.fetch_max(started.elapsed().as_micros() as u64, Ordering::Relaxed);
            match (response["code"].as_str().unwrap(), before) {
                ("VALID", Revocation::Acknowledged(acknowledged)) => {
                    let lag_micros = started.saturating_duration_since(acknowledged);
                    self.lag_micros.fetch_max(lag_micros.as_micros() as u64, Ordering::SeqCst);
                }
                ("VALID", _) => {}
                ("REVOKED", _) => {
                    let revocation = self.keys.lock().unwrap()[index].revocation;
                    assert!(revocation != Revocation::None, "revoked without a request");
                }
                (code, _) => panic!("{code}"),
            }
        }
    }

    /// Stops the clients and prints what they saw.
    pub async fn finish(&self, name: &str, clients: Vec<tokio::task::JoinHandle<()>>) {
        self.stop();
        for client in clients {
            client.await.unwrap();
        }
        println!(
            "{name}: {} revocations, {} verifies, {} responses 503, a revoked key accepted for at most {:?}, slowest verify {:?}",
            self.revoked.load(Ordering::SeqCst),
            self.verified.load(Ordering::SeqCst),
            self.unavailable.load(Ordering::SeqCst),
            self.longest_lag(),
            Duration::from_micros(self.slowest_verify.load(Ordering::SeqCst)),
        );
    }

    pub fn longest_lag(&self) -> Duration {
        Duration::from_micros(self.lag_micros.load(Ordering::SeqCst))
    }

    /// Checks that no acknowledged change is lost, and that every change has its audit event and no event lacks its change.
    pub fn assert_matches_database(&self, query: impl Fn(&str) -> String) {
        let rows = query(
            "SELECT id || ' ' || (revoked_at IS NOT NULL)::text || ' ' || \
             (SELECT count(*) FROM audit_events e WHERE e.key_id = k.id AND action = 'created') || ' ' || \
             (SELECT count(*) FROM audit_events e WHERE e.key_id = k.id AND action = 'revoked') FROM api_keys k",
        );
        let stored: HashMap<&str, Vec<&str>> = rows
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(id, rest)| (id, rest.split(' ').collect()))
            .collect();
        for (id, row) in &stored {
            let expected = if row[0] == "true" { "1" } else { "0" };
            assert_eq!((row[1], row[2]), ("1", expected), "the audit of {id}");
        }
        for key in self.keys.lock().unwrap().iter() {
            let row = stored.get(&*key.id).unwrap_or_else(|| panic!("{} is lost", key.id));
            match key.revocation {
                Revocation::Acknowledged(_) => assert_eq!(row[0], "true", "the revocation of {} is lost", key.id),
                Revocation::None => assert_eq!(row[0], "false", "{}", key.id),
                Revocation::InDoubt => {}
            }
        }
        assert_eq!(query("SELECT count(*) FROM secrets WHERE key_id NOT IN (SELECT id FROM api_keys)"), "0");
        assert_eq!(query("SELECT count(*) FROM audit_events WHERE key_id NOT IN (SELECT id FROM api_keys)"), "0");
        assert_eq!(query("SELECT count(*) FROM api_keys WHERE id NOT IN (SELECT key_id FROM secrets)"), "0");
    }
}
