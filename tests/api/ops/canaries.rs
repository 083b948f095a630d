//! Canaries: secrets and tokens presented wherever a client could put them are found in no log, response, metric, trace
//! or URL, and not in the database.

mod requests;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use reqwest::{Method, RequestBuilder};
use sea_orm::{ConnectOptions, ConnectionTrait, Database};
use serde_json::{Value, json};

use crate::support::database::{self, Kind};
use crate::support::postgres::program;
use crate::support::{KEYS, Response, Server, VERIFY, id, mintkey_at, run, secret};
use crate::wire;

/// Texts that belong into the places that are searched: they show that the search finds what is there.
const PLANTED: &str = "planted-where-it-may-be";
const PLANTED_BYTES: &str = "planted-as-bytes";

/// The headers and bodies of all responses.
#[derive(Default)]
struct Responses(String);

impl Responses {
    async fn record(&mut self, request: RequestBuilder) -> Response {
        let response = Response::to(request).await;
        self.0.push_str(&format!("{:?}\n{}\n", response.headers, response.text));
        response
    }

    async fn expect_error(&mut self, request: RequestBuilder) {
        let response = self.record(request).await;
        assert!(response.status.is_client_error() || response.status.is_server_error(), "{}", response.status);
    }

    fn expect_raw_error(&mut self, server: &Server, request: &str) {
        let reply = wire::exchange(server, request.as_bytes());
        assert!(reply.status >= 400, "{request}: {}", reply.head);
        self.0.push_str(&format!("{}\n{}\n", reply.head, reply.body));
    }
}

/// An OTLP collector that keeps what it receives. Protobuf contains strings as they are.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<u8>>>::default();
        let kept = received.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = kept.clone();
                std::thread::spawn(move || Self::serve(&stream.unwrap(), &kept));
            }
        });
        Self { url, received }
    }

    fn serve(mut stream: &TcpStream, received: &Mutex<Vec<u8>>) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let (mut head, mut length) = (String::new(), 0);
            while reader.read_line(&mut head).unwrap_or(0) > 0 && !head.ends_with("\r\n\r\n") {}
            if head.is_empty() {
                return;
            }
            for line in head.lines().map(str::to_ascii_lowercase) {
                length = line.strip_prefix("content-length:").map_or(length, |value| value.trim().parse().unwrap());
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            received.lock().unwrap().extend(body);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    }
}

/// The places that contain a canary. Names of headers are lower case in logs and responses, so both forms are searched.
fn places_with(canary: &str, places: &[(String, Vec<u8>)]) -> Vec<String> {
    let lower = canary.to_ascii_lowercase();
    let holds = |bytes: &[u8]| {
        [canary, &lower].iter().any(|form| bytes.windows(form.len()).any(|window| window == form.as_bytes()))
    };
    places.iter().filter(|(_, bytes)| holds(bytes)).map(|(place, _)| place.clone()).collect()
}

/// SQLite's files, or a dump of PostgreSQL, in which binary values are hexadecimal, and these values as bytes.
fn database_places(server: &Server) -> Vec<(String, Vec<u8>)> {
    match database::kind() {
        Kind::Sqlite => {
            let files = fs::read_dir(&server.data).unwrap().map(Result::unwrap);
            let named = files.map(|file| (file.file_name().into_string().unwrap(), file.path()));
            let files = named.filter(|(name, _)| name.contains(".db"));
            files.map(|(name, path)| (format!("database {name}"), fs::read(path).unwrap())).collect()
        }
        Kind::Postgres => {
            let dump = run(Command::new(program("pg_dump")).arg("--inserts").arg(database::url(&server.data)));
            assert!(dump.status.success(), "{dump:?}");
            let text = String::from_utf8(dump.stdout).unwrap();
            let mut bytes = Vec::new();
            for value in text.split("'\\x").skip(1) {
                let digits = value.split('\'').next().unwrap();
                bytes.extend((0..digits.len() / 2).map(|n| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).unwrap()));
                bytes.push(0);
            }
            vec![("database dump".to_owned(), text.into_bytes()), ("database bytes".to_owned(), bytes)]
        }
    }
}

async fn places(server: &Server, responses: &Responses, collector: &Collector) -> Vec<(String, Vec<u8>)> {
    let mut places = database_places(server);
    places.push(("log".to_owned(), server.log().into_bytes()));
    places.push(("responses".to_owned(), responses.0.clone().into_bytes()));
    places.push(("traces".to_owned(), collector.received.lock().unwrap().clone()));
    for path in ["/openapi.json", "/openapi.yaml", "/docs", "/metrics", "/readyz"] {
        let page = Response::to(server.request(Method::GET, path, "")).await;
        assert_eq!(page.status, 200);
        places.push((path.to_owned(), page.text.into_bytes()));
    }
    places
}

/// Puts the planted texts into the database, once as text and once as bytes.
async fn plant_in_database(server: &Server) {
    let bytes = match database::kind() {
        Kind::Sqlite => format!("CAST('{PLANTED_BYTES}' AS blob)"),
        Kind::Postgres => format!("convert_to('{PLANTED_BYTES}', 'UTF8')"),
    };
    server.execute(&format!("CREATE TABLE planted AS SELECT '{PLANTED}' AS text, {bytes} AS bytes")).await;
}

/// Makes the database unavailable while `requests` run.
async fn with_outage(server: &Server, requests: impl AsyncFnOnce()) {
    match database::kind() {
        Kind::Sqlite => {
            let (here, away) = (server.data.join("mintkey.db"), server.data.join("away"));
            fs::rename(&here, &away).unwrap();
            requests().await;
            fs::rename(&away, &here).unwrap();
        }
        Kind::Postgres => {
            let mut options = ConnectOptions::new(database::url(&server.data));
            options.max_connections(1);
            let other = Database::connect(options).await.unwrap();
            other.execute_unprepared("BEGIN; LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE").await.unwrap();
            requests().await;
            other.execute_unprepared("ROLLBACK").await.unwrap();
            other.close().await.unwrap();
        }
    }
}

struct Canaries {
    /// Tokens of a user and of a gateway.
    tokens: [String; 2],
    /// The key of a user, a key created by it, a revoked one, and one that is not cached when an outage begins.
    keys: [Value; 4],
    /// An idempotency key, and the key in the response that is stored under it.
    idempotent: (String, Value),
}

async fn create_canaries(server: &Server, responses: &mut Responses) -> Canaries {
    let alice = server.token_with("alice", &["--scopes", "api-keys:write"]);
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let body = json!({ "name": PLANTED, "scopes": ["api-keys:write"] });
    let key = server.create_key_from(&alice, body.clone()).await;
    let child = server.create_key_from(secret(&key), body.clone()).await;
    let [revoked, cold] =
        [server.create_key_from(&alice, body.clone()).await, server.create_key_from(&alice, body).await];
    assert_eq!(server.revoke(id(&revoked), &alice, Value::Null).await.status, 200);

    let idempotency_key = "canary-that-is-an-idempotency-key-7b1d".to_owned();
    let request = || requests::post(server, &alice).header("idempotency-key", &idempotency_key);
    let named = Response::to(request().body(r#"{"name":"x"}"#)).await;
    assert_eq!(named.status, 201, "{}", named.text);
    responses.0.push_str(&format!("{:?}\n", named.headers));
    responses.expect_error(request().body(r#"{"name":"y"}"#)).await;
    Canaries { tokens: [alice, gateway], keys: [key, child, revoked, cold], idempotent: (idempotency_key, named.body) }
}

async fn assert_no_canary_leaks(format: &str) {
    let collector = Collector::start();
    let directory = tempfile::tempdir().unwrap();
    let mut command = mintkey_at(directory.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", format, "--log-level", "debug"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).env("OTEL_BSP_SCHEDULE_DELAY", "100");
    let mut server = Server::spawn(&mut command, directory.path());

    let mut responses = Responses::default();
    let canaries = create_canaries(&server, &mut responses).await;
    let Canaries { tokens: [alice, gateway], keys: [key, child, revoked, cold], idempotent } = &canaries;
    for canary in [alice, secret(key), secret(child)] {
        requests::as_credential(&server, canary, &mut responses).await;
    }
    for canary in [alice, secret(key)] {
        requests::around_the_body(&server, alice, canary, &mut responses).await;
        requests::on_the_wire(&server, canary, &mut responses);
        requests::in_the_body(&server, alice, canary, &mut responses).await;
    }
    for canary in [alice, secret(key), secret(revoked)] {
        requests::to_verify(&server, gateway, canary, &mut responses).await;
        requests::to_forward_auth(&server, canary, &mut responses).await;
        requests::to_introspection(&server, gateway, canary, &mut responses).await;
    }
    for canary in [alice, secret(revoked)] {
        requests::to_revocation(&server, canary, &mut responses).await;
    }
    with_outage(&server, async || {
        for canary in [alice, secret(key), secret(child), secret(cold)] {
            requests::during_outage(&server, gateway, canary, &mut responses).await;
        }
    })
    .await;
    responses.expect_error(requests::post(&server, "").header("x-request-id", PLANTED).body("{}")).await;
    server.wait_for_log(&[PLANTED]);
    plant_in_database(&server).await;

    let jwts = [alice, gateway].map(|token| token.split('.').collect::<Vec<_>>());
    let master = fs::read_to_string(server.data.join("master.secret")).unwrap();
    let signing = fs::read_to_string(server.data.join("signing.key")).unwrap();
    let mut searched = vec![&**alice, &**gateway, &idempotent.0, master.trim(), signing.lines().nth(1).unwrap()];
    searched.extend(jwts.iter().flat_map(|jwt| [jwt[1], jwt[2]]));
    searched.extend([key, child, revoked, cold, &idempotent.1].map(|key| &secret(key)[3..]));
    let encoded: Vec<_> = [alice, secret(key), secret(revoked)].into_iter().flat_map(requests::basic_with).collect();
    searched.extend(encoded.iter().map(|basic| &basic["Basic ".len()..]));
    let assert_none_in = |places: &[(String, Vec<u8>)], server: &Server| {
        let leaks: Vec<_> = searched.iter().flat_map(|canary| places_with(canary, places)).collect();
        let lines: Vec<_> = searched.iter().map(|canary| lines_with(server, canary)).collect();
        assert_eq!(leaks, [""; 0], "{}", lines.join("\n"));
    };
    let places = places(&server, &responses, &collector).await;
    assert_none_in(&places, &server);
    let planted = places_with(PLANTED, &places);
    for place in ["log", "responses"] {
        assert!(planted.iter().any(|planted| planted == place), "{place}: {planted:?}");
    }
    for text in [PLANTED, PLANTED_BYTES] {
        assert!(places_with(text, &places).iter().any(|place| place.starts_with("database")), "{text}");
    }
    assert_eq!(places_with("openapi:", &places), ["/openapi.yaml"]);

    // What is written at the end: counts of verifications, SQLite's log, the last spans.
    server.terminate();
    server.wait_for_log(&["server stopped"]);
    let mut places = database_places(&server);
    places.push(("log".to_owned(), server.log().into_bytes()));
    places.push(("traces".to_owned(), collector.received.lock().unwrap().clone()));
    assert_none_in(&places, &server);
    for text in [PLANTED, PLANTED_BYTES] {
        assert!(places_with(text, &places).iter().any(|place| place.starts_with("database")), "{text}");
    }
    let planted = places_with(PLANTED, &places);
    assert!(planted.contains(&"log".to_owned()) && planted.contains(&"traces".to_owned()), "{planted:?}");
}

fn lines_with(server: &Server, canary: &str) -> String {
    server.log().lines().filter(|line| line.contains(canary)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn secrets_leak_nowhere_with_text_logs() {
    assert_no_canary_leaks("text").await;
}

#[tokio::test]
async fn secrets_leak_nowhere_with_json_logs() {
    assert_no_canary_leaks("json").await;
}

/// A client can send any word as the method (RFC 9110, section 9.1), so logs must not repeat it.
#[tokio::test]
async fn secrets_sent_as_method_leak_nowhere() {
    for format in ["text", "json"] {
        let mut server = Server::start_with(&["--log-format", format, "--log-level", "debug"]);
        let token = server.token("alice");
        let key = server.create_key(&token, &[]).await;
        let mut responses = Responses::default();
        for canary in [&*token, secret(&key)] {
            for path in ["/", KEYS, VERIFY, "/api/auth/forward", "/api/oauth/introspect", "/api/oauth/revoke"] {
                let request = format!("{canary} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                responses.expect_raw_error(&server, &request);
            }
        }
        server.terminate();
        server.wait_for_log(&["server stopped"]);
        let places =
            [("log".to_owned(), server.log().into_bytes()), ("responses".to_owned(), responses.0.into_bytes())];
        for canary in [&*token, secret(&key)] {
            assert_eq!(places_with(canary, &places), [""; 0], "{}", lines_with(&server, canary));
        }
    }
}
