//! Idempotency, when many come at once, when the process is killed, and when somebody reads the disk.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, KEYS, Server, id, secret};

const NAME: &str = "a-name-that-nobody-guesses-7b1d";

async fn alike(server: &Server, token: &str, path: &str, count: usize) -> Vec<Answer> {
    let client = reqwest::Client::new();
    let (url, token) = (format!("{}{path}", server.url), token.to_owned());
    let requests: Vec<_> = (0..count)
        .map(|_| {
            let request = client.post(&url).bearer_auth(&token).header("idempotency-key", NAME);
            tokio::spawn(Answer::of(request.json(&json!({ "name": "x" })).timeout(Duration::from_secs(30))))
        })
        .collect();
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn idempotency_key_in_200_concurrent_creates_makes_one_key() {
    let server = Server::start();
    let token = server.token("alice");
    let answers = alike(&server, &token, KEYS, 200).await;
    let told: BTreeSet<_> = answers.iter().map(|answer| (answer.status.as_u16(), &answer.text)).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(answers[0].status, 201);
    let replayed = answers.iter().filter(|answer| answer.header("idempotency-replayed") == Some("true"));
    assert_eq!(replayed.count(), 199);
    assert_eq!(server.counts().await, [1, 1, 1]);
    assert_eq!(server.count("idempotency_records").await, 1);
}

#[tokio::test]
async fn idempotency_key_in_concurrent_rotations_makes_one_secret() {
    let server = Server::start();
    let token = server.token("alice");
    let key = server.key(&token, json!({ "name": "x" })).await;
    let client = reqwest::Client::new();
    let url = format!("{}{KEYS}{}/rotate", server.url, id(&key));
    let rotate = || Answer::of(client.post(&url).bearer_auth(&token).header("idempotency-key", NAME));
    let answers: [Answer; 6] = tokio::join!(rotate(), rotate(), rotate(), rotate(), rotate(), rotate()).into();
    assert!(answers.iter().all(|answer| answer.status == 201 && answer.text == answers[0].text));
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

fn answered_with_a_key(status: u16) -> bool {
    assert!([201, 503].contains(&status), "{status}");
    status == 201
}

/// Sends one named request until it is answered, wherever the server is by then.
async fn until_answered(url: Arc<RwLock<String>>, token: String, name: String) -> Value {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    for _ in 0..2_000 {
        let request = client.post(format!("{}{KEYS}", url.read().unwrap())).bearer_auth(&token);
        let sent = request.header("idempotency-key", &name).json(&json!({ "name": name })).send().await;
        if let Ok(response) = sent
            && answered_with_a_key(response.status().as_u16())
            && let Ok(key) = response.json().await
        {
            return key;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} was never answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotency_key_retried_after_kill_makes_one_key() {
    const REQUESTS: usize = 40;
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::at(directory.path(), &[]);
    let token = server.token("alice");
    let url = Arc::new(RwLock::new(server.url.clone()));
    let mut keys = Vec::new();
    for round in 0..6 {
        let name = |request: usize| format!("round-{round}-request-{request}-of-the-burst");
        let burst: Vec<_> =
            (0..REQUESTS).map(|n| tokio::spawn(until_answered(url.clone(), token.clone(), name(n)))).collect();
        let enough = keys.len() as i64 + 1 + 5 * round;
        while server.count("api_keys").await < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill();
        server = Server::at(directory.path(), &[]);
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
        let again = until_answered(url.clone(), token.clone(), name).await;
        assert_eq!(&again, key, "what was said once is said again");
    }
}

mod sqlite {
    use super::*;

    #[tokio::test]
    async fn idempotency_key_and_secret_are_not_on_disk_or_in_log() {
        let mut server = Server::with(&["--log-level", "debug"]);
        let token = server.token("alice");
        let body = json!({ "name": "planted-where-it-may-be" });
        let mut texts = vec![NAME.to_owned()];
        let mut next = KEYS.to_owned();
        for _ in 0..2 {
            for replay in [false, true] {
                let request = server.request(Method::POST, &next, &token).header("idempotency-key", NAME);
                let answer = Answer::of(if next == KEYS { request.json(&body) } else { request }).await;
                assert_eq!((answer.status.as_u16(), answer.header("idempotency-replayed").is_some()), (201, replay));
                if replay {
                    let secret = secret(&answer.body);
                    texts.extend([secret[3..].to_owned(), secret[7..48].to_owned()]);
                    next = format!("{KEYS}{}/rotate", id(&answer.body));
                }
            }
        }
        assert_eq!(server.count("idempotency_records").await, 2);
        assert!(files_with(&server, "planted-where-it-may-be").contains(&"mintkey.db-wal".to_owned()));
        for text in &texts {
            assert_eq!(files_with(&server, text), [""; 0], "{text}");
        }
        server.terminate();
        server.log_line(&["stopped"]);
        assert_eq!(files_with(&server, "planted-where-it-may-be"), ["mintkey.db"]);
        for text in &texts {
            assert_eq!(files_with(&server, text), [""; 0], "{text}");
            assert!(!server.log().contains(text), "{text}");
        }
    }
}
