//! Disconnects: each request is logged and counted once, also if it gets no response or only hyper's.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ops::logs::{line_of_request, request_lines};
use crate::ops::metrics::Scrape;
use crate::support::database::{self, Kind};
use crate::support::{KEYS, Server, eventually, id};
use crate::wire;

const ONE: &str = "/api/auth/api-keys/{id}";

async fn send(server: &Server, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Waits until the request uses the connection for writes, where it waits for the lock.
async fn wait_until_it_writes(server: &Server) {
    let idle = match database::kind() {
        Kind::Sqlite => "mintkey_store_connections_idle{pool=\"writer\"}",
        Kind::Postgres => "mintkey_store_connections_idle{pool=\"shared\"}",
    };
    let open = idle.replace("_idle", "");
    eventually(Duration::from_secs(20), "a request waits for the lock", async || {
        let scrape = Scrape::of(server).await;
        (scrape.value(idle) < scrape.value(&open)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn disconnect_while_database_is_locked_is_logged_and_counted() {
    let server = Server::start_with(&["--log-format", "json"]);
    let token = server.token("alice");
    for (number, reset) in [false, true].into_iter().enumerate() {
        let key = server.create_key(&token, &[]).await;
        let other = server.lock().await;
        let request_id = format!("left-{number}");
        let stream = send(
            &server,
            &format!(
                "DELETE {KEYS}{} HTTP/1.1\r\nHost: mintkey\r\nAuthorization: Bearer {token}\r\nX-Request-Id: {request_id}\r\n\r\n",
                id(&key)
            ),
        )
        .await;
        wait_until_it_writes(&server).await;
        if reset {
            stream.set_zero_linger().unwrap();
        }
        drop(stream);
        let line = line_of_request(&server, &request_id);
        assert_eq!((&*line["method"], &*line["route"], &*line["status"]), ("DELETE", ONE, "499"), "{line:?}");
        assert_eq!((&*line["subject"], &*line["reason"]), ("alice", "connection_closed"), "{line:?}");
        assert_eq!(Scrape::of(&server).await.requests(ONE, "DELETE", 499), number as f64 + 1.0);
        other.execute_unprepared("ROLLBACK").await.unwrap();
    }
    assert_eq!(request_lines(&server).iter().filter(|line| line["method"] == "DELETE").count(), 2, "{}", server.log());
}

#[tokio::test]
async fn disconnect_during_the_body_is_logged_and_counted() {
    let server = Server::start();
    let mut stream = send(
        &server,
        &format!(
            "POST {KEYS} HTTP/1.1\r\nHost: mintkey\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\
             Expect: 100-continue\r\nX-Request-Id: left\r\n\r\n"
        ),
    )
    .await;
    // The response to the expectation says that the server waits for the body.
    stream.read_exact(&mut [0; 25]).await.unwrap();
    drop(stream);
    let line = line_of_request(&server, "left");
    let status: u16 = line["status"].parse().unwrap();
    assert_eq!(Scrape::of(&server).await.requests(KEYS, "POST", status), 1.0, "{line:?}");
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn request_whose_head_is_unreadable_is_logged_and_counted() {
    let server = Server::start();
    for (request, status) in [
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: mintkey\r\n{}\r\n", "A: b\r\n".repeat(200)), 431),
    ] {
        assert_eq!(wire::exchange(&server, request.as_bytes()).status, status);
        let line = server.wait_for_log(&["request completed", &format!("status={status}")]);
        assert!(line.contains("reason=\"unreadable_head\"") && line.contains("cause="), "{line}");
        assert_eq!(Scrape::of(&server).await.requests("-", "-", status), 1.0);
    }
}
