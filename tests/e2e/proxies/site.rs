//! Site: a proxy, the mintkey that it asks, and the upstream that it protects.

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
        let asked = mintkey.url.strip_prefix("http://").unwrap().to_owned();
        Self::asking(kind, mintkey, asked)
    }

    /// A site whose proxy asks a server that is not mintkey.
    pub fn asking_a_stranger(kind: Kind) -> (Self, Stranger) {
        let stranger = Stranger::start();
        (Self::asking(kind, Server::start(), stranger.address.to_string()), stranger)
    }

    fn asking(kind: Kind, mintkey: Server, asked: String) -> Self {
        let alice = mintkey.token_with("alice", &["--organization", "acme"]);
        let upstream = Upstream::start();
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let places = Places { proxy: address.to_string(), mintkey: asked, upstream: upstream.address.to_string() };
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut command = places.configure(kind, directory.path());
        let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut site = Self { kind, mintkey, alice, address, process, upstream, directory };
        site.wait_until_it_listens();
        site
    }

    fn wait_until_it_listens(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(self.address).is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{:?} did not start: {ended:?}", self.kind);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A key of alice's, as the answer to its creation.
    pub async fn key(&self, scopes: &[&str]) -> Value {
        self.mintkey.create_key_from(&self.alice, json!({ "name": "a client", "scopes": scopes })).await
    }

    pub async fn bearer(&self) -> String {
        format!("Bearer {}", secret(&self.key(&[]).await))
    }

    /// A request through the proxy: the answer, and what reached the upstream of it.
    pub fn send(&self, request_line: &str, headers: &[(&str, &str)], body: &[u8]) -> (Message, Vec<Message>) {
        self.upstream.seen.lock().unwrap().clear();
        let answer = wire::exchange(self.address, request_line, headers, body);
        (answer, self.upstream.seen.lock().unwrap().clone())
    }

    pub fn get(&self, target: &str, headers: &[(&str, &str)]) -> (Message, Vec<Message>) {
        self.send(&format!("GET {target}"), headers, b"")
    }

    /// What the upstream saw of a request that must get there, once.
    pub fn passes(&self, target: &str, headers: &[(&str, &str)]) -> Message {
        let (answer, mut seen) = self.get(target, headers);
        assert_eq!(answer.status(), 200, "{:?}: {target} {headers:?}: {answer:?}", self.kind);
        assert_eq!((&*answer.body, seen.len()), (FROM_THE_UPSTREAM, 1), "{:?}: {target} {headers:?}", self.kind);
        seen.remove(0)
    }

    /// The answer to a request that must not get to the upstream.
    pub fn is_refused(&self, target: &str, headers: &[(&str, &str)]) -> Message {
        let (answer, seen) = self.get(target, headers);
        assert!(seen.is_empty(), "{:?}: {target} {headers:?} reached the upstream: {seen:?}", self.kind);
        assert!((400..600).contains(&answer.status()), "{:?}: {target} {headers:?}: {answer:?}", self.kind);
        answer
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("{:?} wrote:\n{log}", self.kind);
        }
        // The proxy runs under `timeout`, which hands this on to it and all that it started.
        run(Command::new("kill").arg(self.process.id().to_string()));
        let _ = self.process.wait();
    }
}

/// The addresses that replace those of the configurations in `packaging/proxies`.
struct Places {
    proxy: String,
    mintkey: String,
    upstream: String,
}

impl Places {
    /// Writes the configuration into this directory, and gives the command that runs the proxy with it.
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

const FROM_THE_UPSTREAM: &[u8] = b"from the upstream";

/// An HTTP server that keeps what it was sent.
struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    fn start() -> Self {
        let seen: Arc<Mutex<Vec<Message>>> = Arc::default();
        let kept = seen.clone();
        let address = serve(move |request| {
            kept.lock().unwrap().push(request);
            let length = FROM_THE_UPSTREAM.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            [head.as_bytes(), FROM_THE_UPSTREAM].concat()
        });
        Self { address, seen }
    }
}

/// A server that answers as it is told, and hangs up.
pub struct Stranger {
    address: SocketAddr,
    answer: Arc<Mutex<&'static str>>,
}

impl Stranger {
    fn start() -> Self {
        let answer: Arc<Mutex<&str>> = Arc::default();
        let given = answer.clone();
        Self { address: serve(move |_| given.lock().unwrap().as_bytes().to_vec()), answer }
    }

    pub fn answer_with(&self, answer: &'static str) {
        *self.answer.lock().unwrap() = answer;
    }
}

/// Answers one request a connection, until the process ends.
fn serve(answer: impl Fn(Message) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || {
                stream.set_read_timeout(Some(Duration::from_secs(30)))?;
                match wire::read(&stream)? {
                    Some(request) => stream.write_all(&answer(request)),
                    None => Ok(()),
                }
            });
        }
    });
    address
}
