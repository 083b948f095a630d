//! A running proxy with the upstream that it protects.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::kind::{Addresses, Kind};
use super::wire::{self, Message};
use crate::support::run;
use crate::tools::free_port;

pub struct Proxy {
    pub kind: Kind,
    pub address: SocketAddr,
    process: Child,
    upstream: Upstream,
    directory: TempDir,
}

impl Proxy {
    /// Starts a proxy that asks the server at this address.
    pub fn start(kind: Kind, mintkey: &str) -> Self {
        Self::start_with(kind, mintkey, Upstream::start(), |text| text)
    }

    /// The same, in front of nothing.
    pub fn start_without_upstream(kind: Kind, mintkey: &str) -> Self {
        let upstream = Upstream { address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())), seen: Arc::default() };
        Self::start_with(kind, mintkey, upstream, |text| text)
    }

    /// Starts a proxy after `edit` changed its configuration files.
    pub fn start_edited(kind: Kind, mintkey: &str, edit: impl Fn(String) -> String) -> Self {
        Self::start_with(kind, mintkey, Upstream::start(), edit)
    }

    fn start_with(kind: Kind, mintkey: &str, upstream: Upstream, edit: impl Fn(String) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let upstream_address = upstream.address.to_string();
        let to = Addresses { proxy: address.to_string(), mintkey: mintkey.to_owned(), upstream: upstream_address };
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut command = kind.configure(&to, directory.path(), &edit);
        let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut proxy = Self { kind, address, process, upstream, directory };
        proxy.wait_until_ready();
        proxy
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let is_ready = |proxy: &Self| {
            // Traefik listens before it has read its routes, and responds with 404 until then.
            TcpStream::connect(proxy.address).is_ok()
                && (proxy.kind != Kind::Traefik || proxy.get("/", &[]).0.status() != 404)
        };
        while !is_ready(self) {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{:?} did not start: {ended:?}", self.kind);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a request through the proxy. Returns the response and the requests that reached the upstream.
    pub fn send(&self, request_line: &str, headers: &[(&str, &str)], body: &[u8]) -> (Message, Vec<Message>) {
        self.upstream.seen.lock().unwrap().clear();
        let response = wire::exchange(self.address, request_line, headers, body);
        (response, self.seen())
    }

    /// The requests that reached the upstream since the last one was sent.
    pub fn seen(&self) -> Vec<Message> {
        self.upstream.seen.lock().unwrap().clone()
    }

    pub fn get(&self, target: &str, headers: &[(&str, &str)]) -> (Message, Vec<Message>) {
        self.send(&format!("GET {target}"), headers, b"")
    }

    /// Checks that a request reaches the upstream once, and returns it as the upstream received it.
    pub fn assert_passes(&self, target: &str, headers: &[(&str, &str)]) -> Message {
        let (response, mut seen) = self.get(target, headers);
        assert_eq!(response.status(), 200, "{:?}: {target} {headers:?}: {response:?}", self.kind);
        assert_eq!((&*response.body, seen.len()), (UPSTREAM_BODY, 1), "{:?}: {target} {headers:?}", self.kind);
        seen.remove(0)
    }

    /// Checks that a request does not reach the upstream, and returns the response.
    pub fn assert_refused(&self, target: &str, headers: &[(&str, &str)]) -> Message {
        let (response, seen) = self.get(target, headers);
        assert!(seen.is_empty(), "{:?}: {target} {headers:?} reached the upstream: {seen:?}", self.kind);
        assert!((400..600).contains(&response.status()), "{:?}: {target} {headers:?}: {response:?}", self.kind);
        response
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("{:?}, {}, wrote:\n{log}", self.kind, self.kind.version());
        }
        // `timeout` forwards the signal to the proxy and its children.
        run(Command::new("kill").arg(self.process.id().to_string()));
        let _ = self.process.wait();
    }
}

const UPSTREAM_BODY: &[u8] = b"from the upstream";

/// The `Sec-WebSocket-Accept` that belongs to the key of `upgrades.rs` (RFC 6455 section 1.3).
const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An HTTP server that records the requests it receives, and echoes what follows an upgrade.
struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    fn start() -> Self {
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let received = seen.clone();
        let address = serve(move |request| {
            let upgrade = request.all("Upgrade").concat();
            received.lock().unwrap().push(request);
            if !upgrade.is_empty() {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n";
                let accept = format!("Upgrade: {upgrade}\r\nSec-WebSocket-Accept: {WEBSOCKET_ACCEPT}\r\n\r\n");
                return format!("{head}{accept}").into_bytes();
            }
            let length = UPSTREAM_BODY.len();
            let cors = "Access-Control-Allow-Origin: *";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{cors}\r\nConnection: close\r\n\r\n");
            [head.as_bytes(), UPSTREAM_BODY].concat()
        });
        Self { address, seen }
    }
}

/// A server that sends a configured response and closes the connection.
pub struct FakeAuthServer {
    pub address: SocketAddr,
    response: Arc<Mutex<&'static str>>,
    /// The last request that it received.
    pub received: Arc<Mutex<Option<Message>>>,
}

impl FakeAuthServer {
    pub fn start() -> Self {
        let response: Arc<Mutex<&str>> = Arc::default();
        let received: Arc<Mutex<Option<Message>>> = Arc::default();
        let (current, last) = (response.clone(), received.clone());
        let address = serve(move |request| {
            *last.lock().unwrap() = Some(request);
            current.lock().unwrap().as_bytes().to_vec()
        });
        Self { address, response, received }
    }

    pub fn respond_with(&self, response: &'static str) {
        *self.response.lock().unwrap() = response;
    }
}

/// Serves one request per connection, until the process ends.
fn serve(response: impl Fn(Message) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let response = Arc::new(response);
    accept(move |mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let Some(request) = wire::read(&stream)? else { return Ok(()) };
        let response = response(request);
        stream.write_all(&response)?;
        if response.starts_with(b"HTTP/1.1 101 ") {
            std::io::copy(&mut stream.try_clone()?, &mut stream)?;
        }
        Ok(())
    })
}

/// Counts the connections that reach a server through it.
pub struct Counter {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

impl Counter {
    pub fn in_front_of(server: String) -> Self {
        let connections = Arc::<AtomicUsize>::default();
        let counted = connections.clone();
        let address = accept(move |client| {
            counted.fetch_add(1, Ordering::Relaxed);
            let server = TcpStream::connect(&server)?;
            let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
                to_server.shutdown(Shutdown::Write)
            });
            std::io::copy(&mut &server, &mut &client)?;
            client.shutdown(Shutdown::Both)
        });
        Self { address, connections }
    }
}

/// Serves each connection in a thread, until the process ends.
fn accept(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}
