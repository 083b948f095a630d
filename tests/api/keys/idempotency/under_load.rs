//! Idempotency keys in concurrent requests and after a kill, and what of them is on the disk.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id, secret};

const IDEMPOTENCY_KEY: &str = "an-unguessable-request-key-7b1d";

async fn send_identical(server: &Server, token: &str, path: &str, count: usize) -> Vec<Response> {
    let client = reqwest::Client::new();
    let (url, token) = (format!("{}{path}", server.url), token.to_owned());
    let requests: Vec<_> = (0..count)
        .map(|_| {
            let request = client.post(&url).bearer_auth(&token).header("idempotency-key", IDEMPOTENCY_KEY);
            tokio::spawn(Response::to(request.json(&json!({ "name": "x" })).timeout(Duration::from_secs(30))))
        })
        .collect();
    let mut responses = Vec::new();
    for request in requests {
        responses.push(request.await.unwrap());
    }
    responses
}

#[tokio::test]
async fn idempotency_key_in_200_concurrent_creates_makes_one_key() {
    let server = Server::start();
    let token = server.token("alice");
    let responses = send_identical(&server, &token, KEYS, 200).await;
    let distinct: BTreeSet<_> = responses.iter().map(|response| (response.status.as_u16(), &response.text)).collect();
    assert_eq!(distinct.len(), 1, "{distinct:?}");
    assert_eq!(responses[0].status, 201);
    let replayed = responses.iter().filter(|response| response.header("idempotency-replayed") == Some("true"));
    assert_eq!(replayed.count(), 199);
    assert_eq!(server.counts().await, [1, 1, 1]);
    assert_eq!(server.count("idempotency_records").await, 1);
}

#[tokio::test]
async fn idempotency_key_in_concurrent_rotations_makes_one_secret() {
    let server = Server::start();
    let token = server.token("alice");
    let key = server.create_key(&token, &[]).await;
    let client = reqwest::Client::new();
    let url = format!("{}{KEYS}{}/rotate", server.url, id(&key));
    let rotate = || Response::to(client.post(&url).bearer_auth(&token).header("idempotency-key", IDEMPOTENCY_KEY));
    let responses: [Response; 6] = tokio::join!(rotate(), rotate(), rotate(), rotate(), rotate(), rotate()).into();
    assert!(responses.iter().all(|response| response.status == 201 && response.text == responses[0].text));
    assert_eq!(server.counts().await, [1, 2, 2]);
}

fn files_with(server: &Server, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(&server.data).unwrap().map(Result::unwrap) {
        let bytes = fs::read(entry.path()).unwrap();
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found
}

fn is_created(status: u16) -> bool {
    assert!([201, 503].contains(&status), "{status}");
    status == 201
}

/// Repeats a request with an idempotency key until it succeeds, at the current URL of the server.
async fn retry_until_created(url: Arc<RwLock<String>>, token: String, name: String) -> Value {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    for _ in 0..2_000 {
        let request = client.post(format!("{}{KEYS}", url.read().unwrap())).bearer_auth(&token);
        let sent = request.header("idempotency-key", &name).json(&json!({ "name": name })).send().await;
        if let Ok(response) = sent
            && is_created(response.status().as_u16())
            && let Ok(key) = response.json().await
        {
            return key;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} got no response");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotency_key_retried_after_kill_makes_one_key() {
    const REQUESTS: usize = 40;
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &[]);
    let token = server.token("alice");
    let url = Arc::new(RwLock::new(server.url.clone()));
    let mut keys = Vec::new();
    for round in 0..6 {
        let name = |request: usize| format!("round-{round}-request-{request}-of-the-burst");
        let burst: Vec<_> =
            (0..REQUESTS).map(|n| tokio::spawn(retry_until_created(url.clone(), token.clone(), name(n)))).collect();
        let target = keys.len() as i64 + 1 + 5 * round;
        while server.count("api_keys").await < target {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill();
        server = Server::start_in(directory.path(), &[]);
        *url.write().unwrap() = server.url.clone();
        for request in burst {
            keys.push(request.await.unwrap());
        }
    }
    let ids: BTreeSet<_> = keys.iter().map(id).collect();
    assert_eq!(ids.len(), 6 * REQUESTS);
    let count = 6 * REQUESTS as i64;
    assert_eq!(server.counts().await, [count, count, count]);
    assert_eq!(server.count("idempotency_records").await, count);
    for key in &keys {
        let name = key["name"].as_str().unwrap().to_owned();
        let again = retry_until_created(url.clone(), token.clone(), name).await;
        assert_eq!(&again, key, "a repeated request gets the same response");
    }
}

mod sqlite {
    use super::*;

    #[tokio::test]
    async fn idempotency_key_and_secret_are_not_on_disk_or_in_log() {
        let mut server = Server::start_with(&["--log-level", "debug"]);
        let token = server.token("alice");
        let body = json!({ "name": "planted-where-it-may-be" });
        let mut texts = vec![IDEMPOTENCY_KEY.to_owned()];
        let mut next = KEYS.to_owned();
        for _ in 0..2 {
            for replay in [false, true] {
                let request = server.request(Method::POST, &next, &token).header("idempotency-key", IDEMPOTENCY_KEY);
                let response = Response::to(if next == KEYS { request.json(&body) } else { request }).await;
                assert_eq!(
                    (response.status.as_u16(), response.header("idempotency-replayed").is_some()),
                    (201, replay)
                );
                if replay {
                    let secret = secret(&response.body);
                    texts.extend([secret[3..].to_owned(), secret[7..48].to_owned()]);
                    next = format!("{KEYS}{}/rotate", id(&response.body));
                }
            }
        }
        assert_eq!(server.count("idempotency_records").await, 2);
        assert!(files_with(&server, "planted-where-it-may-be").contains(&"mintkey.db-wal".to_owned()));
        for text in &texts {
            assert_eq!(files_with(&server, text), [""; 0], "{text}");
        }
        server.terminate();
        server.wait_for_log(&["server stopped"]);
        assert_eq!(files_with(&server, "planted-where-it-may-be"), ["mintkey.db"]);
        for text in &texts {
            assert_eq!(files_with(&server, text), [""; 0], "{text}");
            assert!(!server.log().contains(text), "{text}");
        }
    }
}
