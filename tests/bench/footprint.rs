//! Footprint: memory, disk, and the time from start to the first response.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};

use super::load::median;
use super::place::Place;
use super::postgres::{Postgres, free_port};
use super::process::{Process, on_servers_core};
use super::report::{Fact, Promise};
use super::speed::verify;

const CACHED: u64 = 200_000;
const STARTS: usize = 5;

pub async fn measured(postgres: &Postgres) -> Vec<Fact> {
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_mintkey")).unwrap().len();
    let start = start().await;
    let idle = idle().await;
    let cached = per_cached_key(postgres).await;
    vec![
        Fact {
            what: "start: from exec to the first 201, on an empty directory".to_owned(),
            value: start,
            unit: "s",
            promise: Some(Promise { text: "within 0.5 s".to_owned(), met: start <= 0.5 }),
        },
        Fact {
            what: "memory, idle".to_owned(),
            value: idle / 1e6,
            unit: "MB",
            promise: Some(Promise { text: "under 30 MB".to_owned(), met: idle < 30e6 }),
        },
        Fact {
            what: format!("memory per cached key, of {CACHED} keys with empty metadata"),
            value: cached,
            unit: "bytes",
            promise: Some(Promise { text: "under 250 bytes".to_owned(), met: cached > 0.0 && cached < 250.0 }),
        },
        Fact { what: "binary".to_owned(), value: binary as f64 / 1e6, unit: "MB", promise: None },
    ]
}

/// Seconds until a client that retries without pause has its first key. The signing key is created before, because the
/// client needs a token.
async fn start() -> f64 {
    let place = Place::sqlite();
    let client = Client::new();
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let data = tempfile::tempdir_in(super::target()).unwrap();
        let port = free_port();
        let mut command = on_servers_core(Path::new(env!("CARGO_BIN_EXE_mintkey")));
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--signing-key-file"]);
        command.arg(place.path().join("signing.key")).arg("--data-dir").arg(data.path());
        let started = Instant::now();
        let server = Process::at(&mut command, port);
        let create = || {
            let request = client.post(format!("{}/api/auth/api-keys/", server.url)).bearer_auth(&place.owner_token);
            request.header("content-type", "application/json").body(r#"{"name":"first"}"#).send()
        };
        while !create().await.is_ok_and(|response| response.status() == StatusCode::CREATED) {
            assert!(started.elapsed() < Duration::from_secs(30), "no key could be made");
        }
        times.push(started.elapsed().as_secs_f64());
    }
    median(times.into_iter())
}

async fn idle() -> f64 {
    let place = Place::sqlite();
    let server = place.serve(&[]);
    settled(&server).await
}

/// The growth of the process per key when the number of cached keys doubles. On PostgreSQL, because the page cache of
/// SQLite is in the same process and varies by tens of megabytes.
async fn per_cached_key(postgres: &Postgres) -> f64 {
    let place = Place::postgres(postgres);
    let known = place.fill(2 * CACHED, CACHED).await;
    let server = place.serve(&["--cache-ttl", "1h"]);
    // After this, connections, statements and buffers are allocated.
    const HALF: usize = CACHED as usize / 2;
    verify(&server.url, &place.gateway_token, &known[..HALF]).check();
    let before = settled(&server).await;
    verify(&server.url, &place.gateway_token, &known).check();
    let after = settled(&server).await;
    (after - before) / (CACHED as f64 - HALF as f64)
}

/// Resident memory after it has settled: usage is written every minute, and the allocator returns free memory gradually,
/// during requests.
async fn settled(server: &Process) -> f64 {
    let client = Client::new();
    let deadline = Instant::now() + Duration::from_secs(150);
    let mut readings = vec![];
    loop {
        for _ in 0..50 {
            let response = client.get(format!("{}/api/auth/forward", server.url)).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        let metrics = client.get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
        if metrics.contains("\nmintkey_usage_pending 0\n") {
            readings.push(server.resident() as f64);
        }
        let is_steady = |window: &[f64]| window.iter().all(|reading| (reading / window[0] - 1.0).abs() < 0.01);
        if let Some(window) = readings.last_chunk::<6>()
            && (is_steady(window) || Instant::now() > deadline)
        {
            return window[5];
        }
    }
}
