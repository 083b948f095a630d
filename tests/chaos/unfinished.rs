//! Unfinished requests of clients without a credential: they cost the server little memory, do not slow others down, and
//! the memory goes back when they leave. Run with a release build for figures: `cargo test --release --test chaos unfinished::`.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::connections::{memory, p99};
use crate::support::{self, Server, VERIFY};

const CONNECTIONS: usize = 10_000;

/// More than idle connections cost, for all.
const MEMORY_BEYOND_IDLE: u64 = 64_000_000;

/// More than before, once all have left.
const MEMORY_KEPT: u64 = 32_000_000;

/// What the server announces.
const STREAMS: u32 = 32;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Unfinished {
    Head,
    Body,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Literal header fields without indexing (RFC 7541, section 6.2.2).
fn headers(method: &str, path: &str) -> Vec<u8> {
    let literal = |(name, value): &(&str, &str)| {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    let fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "mintkey")];
    fields.iter().flat_map(literal).collect()
}

impl Protocol {
    fn start(self) -> Vec<u8> {
        match self {
            Self::Http1 => Vec::new(),
            Self::Http2 => [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat(),
        }
    }

    /// A complete request, after which the connection is idle.
    fn request(self) -> Vec<u8> {
        match self {
            Self::Http1 => b"GET /livez HTTP/1.1\r\nHost: mintkey\r\n\r\n".to_vec(),
            Self::Http2 => frame(1, 5, 1, &headers("GET", "/livez")),
        }
    }

    /// As much of a request as the server accepts, and more.
    fn unfinished(self, part: Unfinished) -> Vec<u8> {
        match (self, part) {
            (Self::Http1, Unfinished::Head) => {
                format!("POST {VERIFY} HTTP/1.1\r\nHost: mintkey\r\nX-Long: {}", "x".repeat(31_000)).into_bytes()
            }
            (Self::Http1, Unfinished::Body) => {
                let head = format!("POST {VERIFY} HTTP/1.1\r\nHost: mintkey\r\nContent-Length: 60000\r\n\r\n");
                [head.into_bytes(), vec![b' '; 50_000]].concat()
            }
            (Self::Http2, Unfinished::Head) => {
                // One header block without an end, and the next frame of it in part.
                let first = frame(1, 0, 1, &headers("POST", VERIFY));
                let next = frame(9, 0, 1, &[b'x'; 16_384]);
                [&first[..], &next[..16_000]].concat()
            }
            (Self::Http2, Unfinished::Body) => {
                let stream = |number| {
                    let stream = 2 * number + 1;
                    [frame(1, 4, stream, &headers("POST", VERIFY)), frame(0, 0, stream, &[b' '; 2_000])].concat()
                };
                let next = frame(0, 0, 1, &[b' '; 16_384]);
                [(0..STREAMS).flat_map(stream).collect::<Vec<_>>(), next[..16_000].to_vec()].concat()
            }
        }
    }
}

async fn open(url: String, bytes: Vec<u8>, responds: bool) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
    // The server may refuse the rest.
    let _refused = stream.write_all(&bytes).await;
    if responds {
        stream.read_buf(&mut vec![0; 4096]).await?;
    }
    Ok(stream)
}

/// Opens the connections, some hundred at a time, which send these bytes.
async fn open_all(server: &Server, bytes: &[u8], responds: bool) -> Vec<TcpStream> {
    let (mut opening, mut connections) = (JoinSet::<io::Result<TcpStream>>::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        if opening.len() == 200 {
            connections.push(opening.join_next().await.unwrap().unwrap().unwrap());
        }
        opening.spawn(open(server.url.clone(), bytes.to_vec(), responds));
    }
    while let Some(opened) = opening.join_next().await {
        connections.push(opened.unwrap().unwrap());
    }
    connections
}

fn server() -> Server {
    let most = "11000";
    let patient = ["--head-timeout", "10m", "--idle-timeout", "10m"];
    Server::start_with(&[&["--max-connections", most, "--max-connections-per-peer", most][..], &patient].concat())
}

async fn assert_cost(protocol: Protocol) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();

    let idle_server = server();
    let empty = memory(&idle_server);
    let idle = open_all(&idle_server, &[protocol.start(), protocol.request()].concat(), true).await;
    let idle_cost = memory(&idle_server) - empty;
    drop((idle, idle_server));
    println!("{protocol:?}: {CONNECTIONS} idle connections cost {:.1} MB", idle_cost as f64 / 1e6);

    for part in [Unfinished::Head, Unfinished::Body] {
        let server = server();
        let token = server.token_with("alice", &["--scopes", "api-keys:verify"]);
        let key = server.create_key(&token, &[]).await;
        let key = support::secret(&key);
        let alone = p99(&server, &token, key).await;
        let before = memory(&server);
        let connections = open_all(&server, &[protocol.start(), protocol.unfinished(part)].concat(), false).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let cost = memory(&server).saturating_sub(before);
        let beside = p99(&server, &token, key).await;
        let most = memory(&server).saturating_sub(before).max(cost);
        drop(connections);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let kept = memory(&server).saturating_sub(before);
        println!(
            "{protocol:?}, unfinished {part:?}: {:.1} MB, {:.1} MB 10 s after all have left; p99 of verify {alone:?} alone, \
             {beside:?} beside them",
            most as f64 / 1e6,
            kept as f64 / 1e6,
        );
        assert!(most <= idle_cost + MEMORY_BEYOND_IDLE, "{protocol:?} {part:?}: {most} bytes, {idle_cost} when idle");
        assert!(kept <= MEMORY_KEPT, "{protocol:?} {part:?}: {kept} bytes are kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_unfinished_requests_cost_little_memory() {
    assert_cost(Protocol::Http1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_unfinished_requests_cost_little_memory() {
    assert_cost(Protocol::Http2).await;
}
