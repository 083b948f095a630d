//! Fairness: an owner with many keys who lists them all the time does not slow down the others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::iter;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::setting;
use crate::support::{KEYS, Server, VERIFY, client, database, id, secret};

const LISTS: usize = 40;
/// Verifications in each phase, each of a key that is not cached.
const COLD: usize = 400;
const INTERVAL: Duration = Duration::from_millis(15);

const FILTERS: [&str; 4] = ["status=revoked", "q=nothing", "status=disabled&limit=100", "status=expired&q=nothing"];

/// Sends a request and returns its response and its time. `None` if the server is busy with others of its kind.
async fn try_send(
    client: &Client,
    server: &Server,
    method: Method,
    path: &str,
    token: &str,
    body: Value,
) -> (Option<Value>, Duration) {
    let started = Instant::now();
    let request = client.request(method, format!("{}{path}", server.url)).bearer_auth(token);
    let response = if body.is_null() { request } else { request.json(&body) }.send().await.unwrap();
    let (status, retry_after) = (response.status(), response.headers().contains_key("retry-after"));
    let text = response.text().await.unwrap();
    let body = match status.as_u16() {
        200 | 201 => Some(serde_json::from_str(&text).unwrap()),
        503 if retry_after => None,
        _ => panic!("{path}: {status} {text}"),
    };
    (body, started.elapsed())
}

/// The same for a request that must succeed.
async fn send(
    client: &Client,
    server: &Server,
    method: Method,
    path: &str,
    token: &str,
    body: Value,
) -> (Value, Duration) {
    let (response, time) = try_send(client, server, method, path, token, body).await;
    (response.unwrap_or_else(|| panic!("{path}: 503 after {time:?}")), time)
}

/// The 50th and the 99th percentile.
fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

async fn verify_cold(server: &Server, gateway: &str, keys: &[Value]) -> [Duration; 2] {
    let client = client();
    let mut times = Vec::new();
    for key in keys {
        let (verdict, time) = send(&client, server, Method::POST, VERIFY, gateway, json!({ "key": secret(key) })).await;
        assert_eq!(verdict["code"], "VALID");
        times.push(time);
        tokio::time::sleep(INTERVAL).await;
    }
    percentiles(times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_one_owner_do_not_slow_down_the_others() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let (many, bob) = (server.token("many"), server.token("bob"));
    let key = server.create_key(&many, &[]).await;
    let (key, new_id) = (format!("id = {}", database::uuid(id(&key))), database::NEW_UUID[database::kind() as usize]);
    database::copy_key(&server, &key, new_id, setting("CHAOS_KEYS", 400_000)).await;
    let bobs = client();
    let create = || send(&bobs, &server, Method::POST, KEYS, &bob, json!({ "name": "cold" }));
    let keys: Vec<_> = iter(0..2 * COLD).map(|_| create()).buffer_unordered(16).map(|(key, _)| key).collect().await;

    let [median, without] = verify_cold(&server, &gateway, &keys[..COLD]).await;
    println!("{:?}: cold verify without lists: p50 {median:?}, p99 {without:?}", database::kind());

    let (ended, pages, busy) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let lists = join_all((0..LISTS).map(async |number| {
        let (client, mut path) = (client(), format!("{KEYS}?{}", FILTERS[number % FILTERS.len()]));
        let first = path.clone();
        while !ended.load(Ordering::Relaxed) {
            let (page, _) = try_send(&client, &server, Method::GET, &path, &many, Value::Null).await;
            let Some(page) = page else {
                busy.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            assert_eq!(page["items"], json!([]));
            pages.fetch_add(1, Ordering::Relaxed);
            path = page["next_cursor"].as_str().map_or(first.clone(), |cursor| format!("{first}&cursor={cursor}"));
        }
    }));
    let others = async {
        while !ended.load(Ordering::Relaxed) {
            assert_eq!(server.get("/readyz", "").await.status, 200);
            create().await;
            // Waits for the other lists, which are slow on a busy machine.
            match try_send(&bobs, &server, Method::GET, KEYS, &bob, Value::Null).await {
                (Some(page), _) => assert_eq!(page["items"].as_array().unwrap().len(), 20),
                (None, _) => _ = busy.fetch_add(1, Ordering::Relaxed),
            }
            tokio::time::sleep(10 * INTERVAL).await;
        }
    };
    let verified = async {
        let times = verify_cold(&server, &gateway, &keys[COLD..]).await;
        ended.store(true, Ordering::Relaxed);
        times
    };
    let started = Instant::now();
    let ([median, with], _, ()) = tokio::join!(verified, lists, others);
    println!(
        "{:?}: cold verify beside {LISTS} lists: p50 {median:?}, p99 {with:?}, {:.2} times; {:.0} pages/s, {} refused",
        database::kind(),
        with.as_secs_f64() / without.as_secs_f64(),
        pages.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64(),
        busy.load(Ordering::Relaxed)
    );
}
