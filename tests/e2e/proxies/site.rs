//! A proxy with its auth server (mintkey or a fake) and the upstream that it protects.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::wire::{self, Message};
use crate::support::{Server, run, secret};
use crate::tools::{free_port, project, system};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Nginx,
    Caddy,
    HaProxy,
}

pub struct Site {
    pub kind: Kind,
    pub mintkey: Server,
    pub alice: String,
    address: SocketAddr,
    process: Child,
    upstream: Upstream,
    directory: TempDir,
}

impl Site {
    pub fn start(kind: Kind) -> Self {
        let mintkey = Server::start();
        let auth_address = mintkey.url.strip_prefix("http://").unwrap().to_owned();
        Self::with_auth_server(kind, mintkey, auth_address)
    }

    /// A site whose auth server is a fake.
    pub fn with_fake_auth_server(kind: Kind) -> (Self, FakeAuthServer) {
        let auth_server = FakeAuthServer::start();
        (Self::with_auth_server(kind, Server::start(), auth_server.address.to_string()), auth_server)
    }

    fn with_auth_server(kind: Kind, mintkey: Server, auth_address: String) -> Self {
        let alice = mintkey.token_with("alice", &["--organization", "acme"]);
        let upstream = Upstream::start();
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let addresses =
            Addresses { proxy: address.to_string(), mintkey: auth_address, upstream: upstream.address.to_string() };
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut command = addresses.configure(kind, directory.path());
        let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut site = Self { kind, mintkey, alice, address, process, upstream, directory };
        site.wait_until_listening();
        site
    }

    fn wait_until_listening(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(self.address).is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{:?} did not start: {ended:?}", self.kind);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Creates a key of alice's with these scopes.
    pub async fn create_key(&self, scopes: &[&str]) -> Value {
        self.mintkey.create_key_from(&self.alice, json!({ "name": "a client", "scopes": scopes })).await
    }

    pub async fn bearer(&self) -> String {
        format!("Bearer {}", secret(&self.create_key(&[]).await))
    }

    /// Sends a request through the proxy. Returns the response and the requests that reached the upstream.
    pub fn send(&self, request_line: &str, headers: &[(&str, &str)], body: &[u8]) -> (Message, Vec<Message>) {
        self.upstream.seen.lock().unwrap().clear();
        let response = wire::exchange(self.address, request_line, headers, body);
        (response, self.upstream.seen.lock().unwrap().clone())
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

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("{:?} wrote:\n{log}", self.kind);
        }
        // `timeout` forwards the signal to the proxy and its children.
        run(Command::new("kill").arg(self.process.id().to_string()));
        let _ = self.process.wait();
    }
}

/// The addresses that replace those in the configurations of `packaging/proxies`.
struct Addresses {
    proxy: String,
    mintkey: String,
    upstream: String,
}

impl Addresses {
    /// Writes the configuration into this directory, and returns the command that runs the proxy with it.
    fn configure(&self, kind: Kind, directory: &Path) -> Command {
        let path = |name: &str| directory.join(name).display().to_string();
        let write = |name: &str, text: String| fs::write(directory.join(name), text).unwrap();
        match kind {
            Kind::Nginx => {
                write("site.conf", self.fill("nginx.conf", "listen 80;", &format!("listen {};", self.proxy)));
                let mut main = format!("daemon off; user root; pid {}; events {{}} http {{", path("pid"));
                for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                    main += &format!("{kind}_temp_path {};", path(kind));
                }
                write("nginx.conf", format!("{main} access_log off; include {}; }}", path("site.conf")));
                let mut command = system("nginx");
                command.args(["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")]);
                command
            }
            Kind::Caddy => {
                let main = "{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}\n\n";
                let site = self.fill("Caddyfile", "api.example.com {", &format!("http://{} {{", self.proxy));
                write("Caddyfile", format!("{main}{site}"));
                let mut command = system("caddy");
                command.args(["run", "--adapter", "caddyfile", "--config", &path("Caddyfile")]);
                command.env("HOME", directory).env("XDG_DATA_HOME", directory).env("XDG_CONFIG_HOME", directory);
                command
            }
            Kind::HaProxy => {
                let script = "/etc/haproxy/mintkey.lua";
                write("mintkey.lua", self.fill("mintkey.lua", "", ""));
                let site = self.fill("haproxy.cfg", "bind :80\n", &format!("bind {}\n", self.proxy));
                assert!(site.contains(script));
                write("haproxy.cfg", site.replace(script, &path("mintkey.lua")));
                let mut command = system("haproxy");
                command.args(["-db", "-f", &path("haproxy.cfg")]);
                command
            }
        }
    }

    fn fill(&self, name: &str, listen: &str, listen_here: &str) -> String {
        let text = fs::read_to_string(project().join("packaging/proxies").join(name)).unwrap();
        assert!(text.contains(listen), "{name} has no {listen}");
        let text = if listen.is_empty() { text } else { text.replace(listen, listen_here) };
        text.replace("127.0.0.1:8080", &self.mintkey).replace("127.0.0.1:3000", &self.upstream)
    }
}

const UPSTREAM_BODY: &[u8] = b"from the upstream";

/// An HTTP server that records the requests it receives.
struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    fn start() -> Self {
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let received = seen.clone();
        let address = serve(move |request| {
            received.lock().unwrap().push(request);
            let length = UPSTREAM_BODY.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            [head.as_bytes(), UPSTREAM_BODY].concat()
        });
        Self { address, seen }
    }
}

/// A server that sends a configured response and closes the connection.
pub struct FakeAuthServer {
    address: SocketAddr,
    response: Arc<Mutex<&'static str>>,
}

impl FakeAuthServer {
    fn start() -> Self {
        let response: Arc<Mutex<&str>> = Arc::default();
        let current = response.clone();
        Self { address: serve(move |_| current.lock().unwrap().as_bytes().to_vec()), response }
    }

    pub fn respond_with(&self, response: &'static str) {
        *self.response.lock().unwrap() = response;
    }
}

/// Serves one request per connection, until the process ends.
fn serve(response: impl Fn(Message) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let response = Arc::new(response);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let response = response.clone();
            std::thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(30)))?;
                match wire::read(&stream)? {
                    Some(request) => stream.write_all(&response(request)),
                    None => Ok(()),
                }
            });
        }
    });
    address
}
