//! Memory: all requests that have arrived in part take a limited amount of it.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::http::limits::places::connect_from;
use crate::ops::metrics::Scrape;
use crate::support::{Server, eventually};
use crate::wire;

/// Waits until the requests that have arrived in part take this much.
async fn wait_until_memory_is(server: &Server, part: &str, expected: impl Fn(f64) -> bool) {
    let series = format!("mintkey_http_request_memory_bytes{{part=\"{part}\"}}");
    eventually(Duration::from_secs(20), "the memory in use", async || {
        expected(Scrape::of(server).await.value(&series)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn partial_bodies_beyond_request_memory_are_503() {
    let server = Server::start_with(&["--request-memory", "1MiB", "--head-timeout", "10m", "--request-timeout", "10m"]);
    let token = server.token("alice");
    let partial = |server: &Server| {
        let mut stream = wire::connect(server);
        let request = format!("{}Content-Length: 65000\r\n\r\n{}", wire::head(&token), " ".repeat(60_000));
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let held: Vec<_> = (0..8).map(|_| partial(&server)).collect();
    wait_until_memory_is(&server, "bodies", |bytes| bytes == 480_000.0).await;
    let refused = wire::reply(partial(&server));
    assert_eq!((refused.status, &refused.body["status"]), (503, &json!(503)), "{}", refused.head);
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("524288 bytes") && detail.contains("--request-memory"), "{detail}");
    server.create_key(&token, &[]).await;

    drop(held);
    wait_until_memory_is(&server, "bodies", |bytes| bytes == 0.0).await;
    let chunked =
        wire::chunked(&wire::head(&token), format!(r#"{{"name":"x"{}}}"#, " ".repeat(60_000)).as_bytes(), 999);
    assert_eq!(wire::exchange(&server, &chunked).status, 201);
    assert_eq!(server.counts().await, [2, 2, 2]);
}

#[tokio::test]
async fn partial_heads_beyond_request_memory_are_refused() {
    let server = Server::start_with(&["--request-memory", "1MiB", "--head-timeout", "10m", "--request-timeout", "10m"]);
    let token = server.token("alice");
    let partial = async |address: &str| -> TcpStream {
        let mut stream = connect_from(&server, address).await;
        let head =
            format!("GET /livez HTTP/1.1\r\nHost: mintkey\r\nConnection: close\r\nX-Long: {}", "x".repeat(30_000));
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    // Each takes what it has beyond 4 KiB. Ten fit into the quarter that one peer may take.
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(partial("127.0.0.2").await);
    }
    wait_until_memory_is(&server, "heads", |bytes| bytes > 250_000.0).await;
    let refused = wire::reply(partial("127.0.0.2").await);
    assert_eq!(refused.status, 503, "{}", refused.head);
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    // Other peers have their share, and usual heads take nothing of it.
    let mut other = partial("127.0.0.3").await;
    other.write_all(b"\r\n\r\n").unwrap();
    assert_eq!(wire::reply(other).status, 200);
    let mut usual = connect_from(&server, "127.0.0.2").await;
    usual.write_all(b"GET /livez HTTP/1.1\r\nHost: mintkey\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(wire::reply(usual).status, 200);
    server.create_key(&token, &[]).await;

    drop(held);
    wait_until_memory_is(&server, "heads", |bytes| bytes == 0.0).await;
}
