//! Connections: slow and idle ones are closed, and their number is limited.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use crate::support::{Server, VERIFY};
use crate::wire;

const REQUEST: &[u8] = b"GET /docs HTTP/1.1\r\nHost: mintkey\r\n\r\n";

fn server_with_short_timeouts() -> Server {
    Server::start_with(&["--head-timeout", "300ms", "--idle-timeout", "1500ms", "--request-timeout", "700ms"])
}

/// Sends a byte at a time until the server closes the connection, and returns what was received.
fn send_slowly(mut stream: TcpStream, bytes: &[u8]) -> String {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (start, mut received, mut buffer) = (Instant::now(), Vec::new(), [0; 4096]);
    let mut bytes = bytes.iter().cycle();
    loop {
        assert!(start.elapsed() < Duration::from_secs(10), "still open after {:?}", start.elapsed());
        let _refused = stream.write_all(&[*bytes.next().unwrap()]);
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_reset) => break,
        }
    }
    String::from_utf8(received).unwrap()
}

/// The time until the server closes this connection when nothing more is sent.
fn closed_after(mut stream: TcpStream) -> Duration {
    let start = Instant::now();
    let ended = stream.read(&mut [0; 64]);
    assert!(
        matches!(&ended, Ok(0)) || ended.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset),
        "{ended:?}"
    );
    start.elapsed()
}

/// Requests a page and reads the response. The connection stays open.
fn request_page(stream: &mut TcpStream) {
    stream.write_all(REQUEST).unwrap();
    let mut response = Vec::new();
    while !response.ends_with(b"</html>\n") {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "closed after {}", String::from_utf8_lossy(&response));
        response.extend_from_slice(&buffer[..length]);
    }
}

#[test]
fn connection_without_complete_head_is_closed() {
    let server = server_with_short_timeouts();
    // The second is the start of HTTP/2, the third of TLS.
    let starts_of_heads: [&[u8]; 5] = [b"", b"PRI * HT", b"\x16\x03\x01", b"P", b"GET /docs HTTP/1.1\r\nHost: min"];
    let waits: Vec<_> = starts_of_heads
        .into_iter()
        .map(|start_of_head| {
            let mut stream = wire::connect(&server);
            stream.write_all(start_of_head).unwrap();
            spawn(move || (start_of_head, closed_after_response(stream)))
        })
        .collect();
    for wait in waits {
        let (start_of_head, waited) = wait.join().unwrap();
        assert!(waited < Duration::from_secs(5), "{start_of_head:?}: {waited:?}");
    }
}

/// The time until the connection is closed, with or without an error response before.
fn closed_after_response(mut stream: TcpStream) -> Duration {
    let start = Instant::now();
    let _reset = stream.read_to_end(&mut Vec::new());
    start.elapsed()
}

#[test]
fn connection_with_slow_head_is_closed() {
    let server = server_with_short_timeouts();
    assert_eq!(send_slowly(wire::connect(&server), b"GET"), "", "the first head");
    let mut kept = wire::connect(&server);
    request_page(&mut kept);
    assert_eq!(send_slowly(kept, b"GET"), "", "the second head");
}

#[tokio::test]
async fn connection_with_slow_body_receives_408() {
    let server = server_with_short_timeouts();
    let token = server.token("alice");
    let mut stream = wire::connect(&server);
    stream.write_all(format!("{}Content-Length: 60000\r\n\r\n", wire::head(&token)).as_bytes()).unwrap();
    let received = send_slowly(stream, b" ");
    assert!(received.starts_with("HTTP/1.1 408 ") && received.contains("application/problem+json"), "{received}");
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[test]
fn connection_is_kept_while_used_and_closed_when_idle() {
    let server = server_with_short_timeouts();
    let mut stream = wire::connect(&server);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        request_page(&mut stream);
        sleep(Duration::from_millis(800));
    }
    let waited = closed_after(stream);
    assert!(waited > Duration::from_millis(600) && waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn connection_with_slow_reader_is_closed() {
    let server = server_with_short_timeouts();
    let readers: Vec<_> = [0, 1]
        .into_iter()
        .map(|bytes| {
            let mut stream = wire::connect(&server);
            // The responses are larger than any socket buffer.
            let request = b"GET /docs/swagger-ui.js HTTP/1.1\r\nHost: mintkey\r\n\r\n";
            stream.write_all(&request.repeat(20)).unwrap();
            spawn(move || {
                let start = Instant::now();
                while start.elapsed() < Duration::from_secs(4) {
                    sleep(Duration::from_millis(50));
                    let _ = stream.read(&mut vec![0; bytes]);
                }
                let mut rest = Vec::new();
                let _reset = stream.read_to_end(&mut rest);
                assert!(start.elapsed() < Duration::from_secs(10), "the server has gone by now");
                rest.len()
            })
        })
        .collect();
    let mut whole = 0;
    let mut stream = wire::connect(&server);
    stream.write_all(b"GET /docs/swagger-ui.js HTTP/1.1\r\nHost: mintkey\r\nConnection: close\r\n\r\n").unwrap();
    whole += stream.read_to_end(&mut Vec::new()).unwrap();
    for reader in readers {
        assert!(reader.join().unwrap() < 20 * whole, "all was sent in the end");
    }
}

#[test]
fn head_over_32_kib_is_refused() {
    let server = Server::start();
    let status = |size: usize| {
        let start = format!("POST {VERIFY} HTTP/1.1\r\nHost: mintkey\r\nConnection: close\r\nX-Long: ");
        let request = format!("{start}{}\r\n\r\n", "x".repeat(size - start.len() - 4));
        wire::exchange(&server, request.as_bytes()).status
    };
    assert_eq!(status(32 * 1024 - 1), 401);
    // The client receives the status although the server has not read what it sent.
    for size in [33 * 1024, 500_000, 4_000_000] {
        assert_eq!(status(size), 431, "{size}");
    }
}
