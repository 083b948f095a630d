//! Places: idle connections give theirs to new ones, and probes have places of their own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpSocket;

use crate::ops::metrics::Scrape;
use crate::support::{Server, VERIFY};
use crate::wire::{self, RawResponse};

const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: mintkey\r\n\r\n")
}

/// Connects from an address of the loopback network.
pub async fn connect_from(server: &Server, address: &str) -> TcpStream {
    let to: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    let stream = socket.connect(to).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn request(mut stream: TcpStream, request: &str) -> RawResponse {
    stream.write_all(request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1).as_bytes()).unwrap();
    wire::reply(stream)
}

/// A connection with a request whose body never ends.
async fn busy(server: &Server, address: &str, token: &str) -> TcpStream {
    let mut stream = connect_from(server, address).await;
    let request = format!(
        "POST {VERIFY} HTTP/1.1\r\nHost: mintkey\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\
         Expect: 100-continue\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    // The server asks for the body once it has authenticated the caller.
    let mut received = [0; 21];
    stream.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"HTTP/1.1 100 Continue");
    stream
}

#[tokio::test]
async fn idle_connections_of_one_client_do_not_keep_others_out() {
    let server = Server::start_with(&["--max-connections", "50"]);
    let token = server.token("alice");
    let hog: Vec<_> = (0..50).map(|_| wire::connect(&server)).collect();
    let half_heads: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = wire::connect(&server);
            stream.write_all(b"GET /livez HTTP/1.1\r\nHo").unwrap();
            stream
        })
        .collect();
    for address in ["127.0.0.1", "127.0.0.2"] {
        for path in PROBES {
            assert_eq!(request(connect_from(&server, address).await, &get(path)).status, 200, "{address} {path}");
        }
    }
    server.create_key_from(&token, json!({ "name": "served" })).await;
    let scrape = Scrape::of(&server).await;
    assert!(scrape.value("mintkey_http_connections_per_peer") <= 25.0);
    assert!(scrape.value("mintkey_http_connections_without_place_total{outcome=\"idle_closed\"}") >= 75.0);
    drop((hog, half_heads));
}

#[tokio::test]
async fn busy_connections_of_one_client_leave_places_to_others() {
    let server =
        Server::start_with(&["--max-connections", "6", "--max-connections-per-peer", "4", "--head-timeout", "10m"]);
    let token = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let mut busy_ones = Vec::new();
    for _ in 0..4 {
        busy_ones.push(busy(&server, "127.0.0.2", &token).await);
    }
    let refused = request(connect_from(&server, "127.0.0.2").await, &get("/openapi.json"));
    assert_eq!((refused.status, &refused.body["status"]), (503, &json!(503)));
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("6 in all (--max-connections") && detail.contains("4 of one address"), "{detail}");
    assert_eq!(request(connect_from(&server, "127.0.0.3").await, &get("/openapi.json")).status, 200);

    for _ in 0..2 {
        busy_ones.push(busy(&server, "127.0.0.3", &token).await);
    }
    assert_eq!(request(connect_from(&server, "127.0.0.4").await, &get("/openapi.json")).status, 503, "none is idle");
    // Silent connections keep out no probe.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(connect_from(&server, "127.0.0.5").await);
    }
    for path in PROBES {
        assert_eq!(request(connect_from(&server, "127.0.0.4").await, &get(path)).status, 200, "{path}");
    }
    drop((busy_ones, silent));
}
