//! Introspection and revocation by clients of OAuth 2.0: Apache `mod_auth_openidc` with the configuration in
//! `packaging/proxies`, and the npm package `oauth4webapi`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{KEYS, Server, mintkey_at, run, secret, succeed};
use crate::tools::{free_port, make_certificate, project, script, system};

/// A change of the configuration: a text in it, and what replaces it.
type Change = (&'static str, &'static str);

const BASIC: &[Change] = &[];
const BEARER: &[Change] = &[(
    "OIDCOAuthClientSecret GATEWAY_KEY",
    "OIDCOAuthClientSecret unused\nOIDCOAuthIntrospectionEndpointAuth bearer_access_token\n\
     OIDCOAuthIntrospectionClientAuthBearerToken GATEWAY_KEY",
)];
const CACHED: &[Change] = &[("OIDCOAuthTokenIntrospectionInterval -1", "")];
const BOUNDED: &[Change] = &[("OIDCOAuthTokenIntrospectionInterval -1", "OIDCOAuthTokenIntrospectionInterval 1")];

/// Apache in front of an upstream that returns the head of its request, and mintkey with TLS.
struct Site {
    mintkey: Server,
    /// Accepts mintkey's certificate, which is that of an authority, too.
    client: reqwest::Client,
    alice: String,
    url: String,
    process: Child,
    /// The heads that reached the upstream.
    seen: Arc<Mutex<Vec<String>>>,
    directory: TempDir,
}

impl Site {
    async fn start(changes: &[Change], arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [cert, key] = make_certificate(directory.path(), "mintkey");
        let data = directory.path().join("data");
        let mut serve = mintkey_at(&data);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key]).args(arguments);
        let mut mintkey = Server::spawn(&mut serve, &data);
        mintkey.url = mintkey.url.replacen("http:", "https:", 1);
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
        let gateway = mintkey.token_with("gateway", &["--scopes", "api-keys:verify"]);
        let gateway =
            create_key(&client, &mintkey, &gateway, json!({ "name": "g", "scopes": ["api-keys:verify"] })).await;

        let (upstream, seen) = start_upstream();
        let port = free_port();
        let site = site_configuration(changes, &mintkey.url, &upstream, secret(&gateway), port);
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::write(path("site.conf"), site).unwrap();
        fs::write(path("httpd.conf"), main_configuration(directory.path(), port, &cert)).unwrap();
        let mut apache = system("apache2");
        apache.args(["-D", "FOREGROUND", "-f", &path("httpd.conf")]).stdin(Stdio::null()).stdout(Stdio::null());
        let process = apache.stderr(fs::File::create(path("stderr")).unwrap()).spawn().unwrap();
        let alice = mintkey.token("alice");
        let url = format!("http://127.0.0.1:{port}");
        let mut site = Self { mintkey, client, alice, url, process, seen, directory };
        site.wait_until_listening(port);
        site
    }

    fn wait_until_listening(&mut self, port: u16) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "apache2 did not start: {ended:?}\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        read("stderr") + &read("error.log")
    }

    async fn create_key(&self, scopes: &[&str]) -> Value {
        let body = json!({ "name": "a client", "scopes": scopes, "expires_in_seconds": 3600 });
        create_key(&self.client, &self.mintkey, &self.alice, body).await
    }

    async fn revoke(&self, key: &Value) {
        let request = self.client.post(format!("{}/api/oauth/revoke", self.mintkey.url));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.body(format!("token={}", secret(key))).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }

    /// Sends a request through Apache. The response is that of the upstream exactly if the request reached it.
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> StatusCode {
        self.seen.lock().unwrap().clear();
        let mut request = crate::support::client().get(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let status = request.send().await.unwrap().status();
        assert_eq!(self.seen.lock().unwrap().len(), usize::from(status == 200), "{path} {headers:?}: {status}");
        status
    }

    async fn get_with(&self, key: &str) -> StatusCode {
        self.get("/any", &[("Authorization", &format!("Bearer {key}"))]).await
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("apache2 wrote:\n{}", self.log());
        }
        // `timeout` forwards the signal to Apache and its children.
        run(Command::new("kill").arg(self.process.id().to_string()));
        let _ = self.process.wait();
    }
}

async fn create_key(client: &reqwest::Client, mintkey: &Server, token: &str, body: Value) -> Value {
    let request = client.post(format!("{}{KEYS}", mintkey.url)).bearer_auth(token).json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    response.json().await.unwrap()
}

fn site_configuration(changes: &[Change], mintkey: &str, upstream: &str, gateway: &str, port: u16) -> String {
    let mut text = fs::read_to_string(project().join("packaging/proxies/mod_auth_openidc.conf")).unwrap();
    let port = format!("<VirtualHost *:{port}>");
    let addresses = [
        ("https://mintkey.example.com", mintkey),
        ("127.0.0.1:3000", upstream),
        ("<VirtualHost *:80>", &port),
        ("GATEWAY_KEY", gateway),
    ];
    for (from, to) in changes.iter().copied().chain(addresses) {
        assert!(text.contains(from), "mod_auth_openidc.conf has no {from}");
        text = text.replace(from, to);
    }
    text
}

/// What Debian's own configuration has, for a process of the test alone.
fn main_configuration(directory: &Path, port: u16, cert: &str) -> String {
    let directory = directory.display();
    let modules =
        ["mpm_event", "authn_core", "authz_core", "authz_user", "headers", "proxy", "proxy_http", "auth_openidc"];
    let load = |name: &str| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
    format!(
        "ServerRoot {directory}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {directory}/pid\n\
         DefaultRuntimeDir {directory}\nMutex file:{directory} default\nErrorLog {directory}/error.log\n\
         User www-data\nGroup www-data\n{}OIDCCABundlePath {cert}\nInclude {directory}/site.conf\n",
        modules.map(load).concat()
    )
}

/// Starts an HTTP server that keeps the heads of its requests, until the process ends.
fn start_upstream() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let kept = seen.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|length| length == 1) {
                head.push(byte[0]);
            }
            kept.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    });
    (address, seen)
}

#[tokio::test]
async fn apache_admits_valid_keys_and_passes_their_claims() {
    for changes in [BASIC, BEARER] {
        let mut site = Site::start(changes, &[]).await;
        let [plain, admin] =
            [site.create_key(&["projects:read"]).await, site.create_key(&["example:admin", "x"]).await];
        let bearer = format!("Bearer {}", secret(&plain));
        let spoofed = [("OIDC_CLAIM_sub", "eve"), ("OIDC-CLAIM-org", "eve"), ("oidc.claim.scope", "eve")];
        let headers: Vec<_> = [("Authorization", &*bearer)].into_iter().chain(spoofed).collect();
        assert_eq!(site.get("/any", &headers).await, 200);
        let head = site.seen.lock().unwrap()[0].clone();
        for line in [
            "OIDC_CLAIM_sub: alice".to_owned(),
            "OIDC_CLAIM_scope: projects:read".to_owned(),
            format!("OIDC_CLAIM_client_id: {}", plain["id"].as_str().unwrap()),
        ] {
            assert!(head.contains(&line), "{line}: {head}");
        }
        assert!(!head.contains("eve") && !head.contains(secret(&plain)), "{head}");

        for (status, path, key) in [
            (401, "/any", "garbage"),
            (401, "/admin/x", secret(&plain)),
            (401, "/x/%41DMIN", secret(&plain)),
            (200, "/admin/x", secret(&admin)),
        ] {
            let bearer = format!("Bearer {key}");
            assert_eq!(site.get(path, &[("Authorization", &bearer)]).await.as_u16(), status, "{path}");
        }
        let query = format!("/any?access_token={}", secret(&plain));
        for (path, headers) in [("/any", vec![]), ("/any", vec![("X-API-Key", secret(&plain))]), (&query, vec![])] {
            assert_eq!(site.get(path, &headers).await, 401, "{path} {headers:?}");
        }
        site.revoke(&plain).await;
        assert_eq!(site.get_with(secret(&plain)).await, 401, "revoked");
        assert_eq!(site.get_with(secret(&admin)).await, 200);
        site.mintkey.kill();
        assert_eq!(site.get_with(secret(&admin)).await, 401, "mintkey is down");
    }
}

#[tokio::test]
async fn apache_with_a_cache_admits_a_revoked_key_within_its_bound() {
    let site = Site::start(CACHED, &[]).await;
    let key = site.create_key(&[]).await;
    assert_eq!(site.get_with(secret(&key)).await, 200);
    site.revoke(&key).await;
    assert_eq!(site.get_with(secret(&key)).await, 200, "as docs/verify.md warns");

    let site = Site::start(CACHED, &["--introspection-omit-exp"]).await;
    let key = site.create_key(&[]).await;
    assert_eq!(site.get_with(secret(&key)).await, 200);
    site.revoke(&key).await;
    assert_eq!(site.get_with(secret(&key)).await, 401, "without exp it keeps nothing");

    let mut site = Site::start(BOUNDED, &[]).await;
    let (key, other) = (site.create_key(&[]).await, site.create_key(&[]).await);
    for key in [&key, &other] {
        assert_eq!(site.get_with(secret(key)).await, 200);
    }
    site.revoke(&key).await;
    site.mintkey.kill();
    let deadline = Instant::now() + Duration::from_secs(60);
    for key in [&key, &other] {
        while site.get_with(secret(key)).await != 401 {
            assert!(Instant::now() < deadline, "still admitted");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn oauth4webapi_introspects_and_revokes() {
    let server = Server::start();
    let token = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let gateway = server.create_key(&token, &["api-keys:verify"]).await;
    let alice = server.token("alice");
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(secret(&server.create_key(&alice, &["projects:read"]).await).to_owned());
    }
    let output = succeed(script("introspection_clients.mjs").args([&server.url, secret(&gateway)]).args(&keys));
    assert_eq!(output.trim(), "done");
    for key in &keys {
        assert_eq!(server.verify_code(&token, key).await, "REVOKED");
    }
}
