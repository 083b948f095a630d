//! HTTP/2 in cleartext: frames that a well-behaved client does not send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{Server, VERIFY, secret};
use crate::wire;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Client(TcpStream);

impl Client {
    /// Connects with these settings (identifier and value).
    fn connect(server: &Server, settings: &[(u16, u32)]) -> Self {
        let mut client = Self(wire::connect(server));
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let settings = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
        client.send(SETTINGS, 0, 0, &settings.collect::<Vec<_>>());
        client
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // If the server has closed the connection, the frames it sent before give the reason.
        let _closed = self.0.write_all(&frame);
    }

    fn request(&mut self, stream: u32, method: &str, path: &str, flags: u8) {
        self.request_as(stream, method, path, "", flags);
    }

    /// The credential is an API key: a token would be too long for [`literal`].
    fn request_as(&mut self, stream: u32, method: &str, path: &str, credential: &str, flags: u8) {
        let headers = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "mintkey")];
        let bearer = format!("Bearer {credential}");
        let credential = [("authorization", &*bearer), ("content-type", "application/json")];
        let headers = headers.into_iter().chain(credential.into_iter().filter(|_| bearer != "Bearer "));
        let block: Vec<u8> = headers.flat_map(|(name, value)| literal(name, value)).collect();
        self.send(HEADERS, flags, stream, &block);
    }

    /// The next frame, or `None` if the server has closed the connection.
    fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        // The server closes connections that do not acknowledge a PING.
        if frame.kind == PING && frame.flags & ACK == 0 {
            self.send(PING, ACK, 0, &frame.payload);
        }
        Some(frame)
    }

    /// Reads until the stream ends, and returns its body.
    fn body(&mut self, stream: u32) -> String {
        let mut body = Vec::new();
        loop {
            let frame = self.next().expect("the connection is open");
            if frame.stream == stream {
                assert_ne!(frame.kind, RST_STREAM, "reset");
                body.extend(if frame.kind == DATA { frame.payload } else { Vec::new() });
                if frame.flags & END_STREAM != 0 && [DATA, HEADERS].contains(&frame.kind) {
                    return String::from_utf8(body).unwrap();
                }
            }
        }
    }

    /// Waits until the connection is closed. Returns the error code of GOAWAY, if there was one.
    fn closed(&mut self, within: Duration) -> Option<u32> {
        let start = Instant::now();
        let mut error = None;
        while let Some(frame) = self.next() {
            assert!(start.elapsed() < within, "still open");
            if frame.kind == GOAWAY {
                error = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        assert!(start.elapsed() < within, "closed only after {:?}", start.elapsed());
        error
    }
}

/// A literal header field without indexing (RFC 7541, section 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    assert!(name.len() < 127 && value.len() < 127);
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

#[test]
fn http2_announces_limits() {
    let server = Server::start();
    let mut client = Client::connect(&server, &[]);
    let frame = client.next().unwrap();
    assert_eq!(frame.kind, SETTINGS);
    let settings: Vec<_> = frame
        .payload
        .chunks(6)
        .map(|s| (u16::from_be_bytes([s[0], s[1]]), u32::from_be_bytes([s[2], s[3], s[4], s[5]])))
        .collect();
    for (id, most) in [(3, 32), (4, 16_384), (6, 32_768)] {
        let value = settings.iter().find(|(known, _)| *known == id).map_or(65_535, |(_, value)| *value);
        assert!(value <= most, "setting {id} is {value}");
    }
}

#[test]
fn http2_unfinished_body_without_credential_is_401_at_once() {
    let server = Server::start_with(&["--request-timeout", "10m"]);
    let mut client = Client::connect(&server, &[]);
    for stream in [1, 3, 5] {
        client.request(stream, "POST", VERIFY, END_HEADERS);
        client.send(DATA, 0, stream, b"{");
        assert!(client.body(stream).contains("\"status\":401"));
    }
    client.request(7, "GET", "/docs", END_HEADERS | END_STREAM);
    assert!(client.body(7).contains("mintkey API"), "the connection is kept");
}

#[test]
fn http2_endless_head_is_closed() {
    let server = Server::start_with(&["--head-timeout", "300ms"]);
    let mut flood = Client::connect(&server, &[]);
    flood.request(1, "GET", "/docs", END_STREAM);
    for _ in 0..1_000 {
        flood.send(CONTINUATION, 0, 1, &literal("x-long", &"x".repeat(120)).repeat(30));
    }
    flood.closed(Duration::from_secs(5));

    let mut silent = Client::connect(&server, &[]);
    silent.request(1, "GET", "/docs", END_STREAM);
    silent.closed(Duration::from_secs(5));
}

#[test]
fn http2_rapid_reset_does_not_slow_others() {
    let server = Server::start();
    let mut reset = Client::connect(&server, &[]);
    let mut good = Client::connect(&server, &[]);
    for round in 0..20 {
        for stream in 0..500 {
            let stream = (round * 500 + stream) * 2 + 1;
            reset.request(stream, "GET", "/docs", END_HEADERS | END_STREAM);
            reset.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        }
        let start = Instant::now();
        good.request(round * 2 + 1, "GET", "/docs", END_HEADERS | END_STREAM);
        assert!(good.body(round * 2 + 1).contains("mintkey API"));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn http2_sigterm_sends_goaway_and_finishes_requests() {
    let mut server = Server::start();
    let token = server.token_with("gateway", &["--scopes", "api-keys:write api-keys:verify"]);
    let key = server.create_key(&token, &["api-keys:verify"]).await;
    let mut idle = Client::connect(&server, &[]);
    idle.request(1, "GET", "/docs", END_HEADERS | END_STREAM);
    idle.body(1);
    let mut busy = Client::connect(&server, &[]);
    busy.request_as(1, "POST", VERIFY, secret(&key), END_HEADERS);
    busy.send(DATA, 0, 1, b"{");
    // A response on the same connection means that the request before has begun.
    busy.request(3, "GET", "/docs", END_HEADERS | END_STREAM);
    busy.body(3);

    server.sigterm();
    server.wait_for_log(&["SIGTERM"]);
    assert_eq!(idle.closed(Duration::from_secs(2)), Some(0));
    busy.send(DATA, END_STREAM, 1, b"}");
    assert!(busy.body(1).contains("\"status\":422"));
    assert_eq!(busy.closed(Duration::from_secs(2)), Some(0));
    assert_eq!(server.exit_within(Duration::from_secs(5)).unwrap().code(), Some(0));
    assert!(!server.log().contains("dropped in-flight"), "{}", server.log());
}

#[test]
fn http2_client_without_window_is_closed() {
    let server = Server::start_with(&["--head-timeout", "300ms", "--idle-timeout", "1s"]);
    let mut client = Client::connect(&server, &[(4, 0)]);
    for stream in [1, 3, 5] {
        client.request(stream, "GET", "/docs/swagger-ui.js", END_HEADERS | END_STREAM);
    }
    assert_eq!(client.closed(Duration::from_secs(8)), Some(0), "no error: the time is over");
}
