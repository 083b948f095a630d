//! Metrics: the values in a scrape, and what must not be in its labels.

use std::time::Duration;

use mintkey::service::built_in_issuer::ISSUER;
use reqwest::Method;
use serde_json::json;

use crate::support::database::{self, Kind};
use crate::support::{KEYS, Response, Server, VERIFY, eventually, id, secret};
use crate::wire;

/// A scrape, with lookup of values by the text of their series.
pub struct Scrape(String);

impl Scrape {
    pub async fn of(server: &Server) -> Self {
        let response = server.get("/metrics", "").await;
        assert_eq!(response.status, 200, "{}", response.text);
        Self(response.text)
    }

    fn has(&self, series: &str) -> bool {
        self.0.lines().any(|line| line.starts_with(&format!("{series} ")))
    }

    pub fn value(&self, series: &str) -> f64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in\n{}", self.0)).parse().unwrap()
    }

    pub fn requests(&self, route: &str, method: &str, status: u16) -> f64 {
        self.value(&format!("mintkey_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}"))
    }
}

#[tokio::test]
async fn metrics_count_and_time_requests() {
    let server = Server::start();
    let token = server.token("alice");
    let before = Scrape::of(&server).await;
    assert_eq!(before.requests(KEYS, "POST", 201), 0.0, "what is usual is there from the start");
    let key = server.create_key(&token, &[]).await;
    server.get(&format!("{KEYS}{}", id(&key)), &token).await;
    server.get(&format!("{KEYS}nonsense"), &token).await.assert_problem(404);
    server.create("garbled", json!({})).await.assert_problem(401);
    server.get(VERIFY, &token).await.assert_problem(405);

    let after = Scrape::of(&server).await;
    let one = "/api/auth/api-keys/{id}";
    assert_eq!(after.requests(KEYS, "POST", 201), 1.0);
    assert_eq!(after.requests(KEYS, "POST", 401), 1.0);
    assert_eq!((after.requests(one, "GET", 200), after.requests(one, "GET", 404)), (1.0, 1.0));
    assert_eq!(after.requests(VERIFY, "GET", 405), 1.0);
    let timed = |part: &str| after.value(&format!("mintkey_http_request_duration_seconds_{part}{{route=\"{KEYS}\"}}"));
    assert_eq!(timed("count"), 2.0);
    assert!(timed("sum") > 0.0 && timed("sum") < 10.0);
    let all = after.value(&format!("mintkey_http_request_duration_seconds_bucket{{le=\"+Inf\",route=\"{KEYS}\"}}"));
    assert_eq!(all, 2.0);
}

#[tokio::test]
async fn metrics_count_verdicts_and_cache_hits() {
    let server = Server::start();
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let key = server.create_key(&server.token("alice"), &[]).await;
    let before = Scrape::of(&server).await;
    for _ in 0..3 {
        assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    }
    assert_eq!(server.verify_code(&gateway, "nonsense").await, "NOT_FOUND");
    server.revoke(id(&key), &server.token("alice"), json!({})).await;
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "REVOKED");

    let after = Scrape::of(&server).await;
    let code = |code: &str| after.value(&format!("mintkey_verifications_total{{code=\"{code}\"}}"));
    let codes = ["VALID", "NOT_FOUND", "REVOKED", "DISABLED", "EXPIRED", "INSUFFICIENT_SCOPE"].map(code);
    assert_eq!(codes, [3.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    let increase = |series: &str| after.value(series) - before.value(series);
    assert_eq!(increase("mintkey_cache_misses_total"), 2.0, "the first question, and the first after the revocation");
    assert_eq!(increase("mintkey_cache_hits_total"), 2.0);
    assert_eq!(after.value("mintkey_cache_entries{kind=\"positive\"}"), 1.0);
    for (kind, limit) in [("keys", 192.0), ("tokens", 32.0), ("responses", 16.0)] {
        let used = after.value(&format!("mintkey_cache_size_bytes{{kind=\"{kind}\"}}"));
        assert!(used > 100.0 && used < 100_000.0, "{kind}: {used}");
        let allowed = after.value(&format!("mintkey_cache_size_limit_bytes{{kind=\"{kind}\"}}"));
        assert_eq!(allowed, limit * 1024.0 * 1024.0, "{kind}");
    }
    assert!(after.value("mintkey_usage_pending") >= 0.0);
}

#[tokio::test]
async fn metrics_describe_process_and_connections() {
    let server = Server::start_with(&["--max-connections", "123"]);
    let silent = wire::connect(&server);
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.value(&format!("mintkey_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    assert_eq!(scrape.value("mintkey_http_connections_limit"), 123.0);
    assert!(scrape.value("mintkey_http_connections") >= 2.0, "the silent one and the scrape's own");
    let pool = match database::kind() {
        Kind::Sqlite => "writer",
        Kind::Postgres => "shared",
    };
    let connections = scrape.value(&format!("mintkey_store_connections{{pool=\"{pool}\"}}"));
    assert!(connections >= 1.0);
    assert!(scrape.value(&format!("mintkey_store_connections_idle{{pool=\"{pool}\"}}")) <= connections);
    assert!(scrape.value("process_resident_memory_bytes") > 1e6);
    assert!(
        scrape.value("process_open_fds") > 3.0 && scrape.value("process_open_fds") < scrape.value("process_max_fds")
    );
    let now = mintkey::domain::clock::Clock::System.now().timestamp() as f64;
    assert!((now - scrape.value("process_start_time_seconds")).abs() < 60.0);
    drop(silent);
}

#[tokio::test]
async fn metrics_measure_revocation_lag() {
    let server = Server::start();
    let lag = async || Scrape::of(&server).await.value("mintkey_revocation_lag_seconds");
    eventually(Duration::from_secs(10), "a measured lag", async || (lag().await > 0.0).then_some(())).await;
    assert!(lag().await < 2.0);
}

#[tokio::test]
async fn metrics_count_issuer_keys_and_show_their_age() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    let jwk = |kid: &str| json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "A".repeat(43) });
    std::fs::write(&file, json!({ "keys": [jwk("1"), jwk("2")] }).to_string()).unwrap();
    let [known, unknown] = [
        format!("https://a.example,audience=x,jwks-file={}", file.display()),
        format!("http://{},audience=x", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()),
    ];
    let server = Server::start_with(&["--issuer", &known, "--issuer", &unknown, "--standalone-issuer"]);
    server.wait_for_log(&["JWKS refreshed", "https://a.example"]);
    let scrape = Scrape::of(&server).await;
    let series = |name: &str, issuer: &str| format!("mintkey_issuer_keys{name}{{issuer=\"{issuer}\"}}");
    assert_eq!(scrape.value(&series("", "https://a.example")), 2.0);
    assert!((0.0..60.0).contains(&scrape.value(&series("_age_seconds", "https://a.example"))));
    let unknown = unknown.split(',').next().unwrap();
    assert_eq!(scrape.value(&series("", unknown)), 0.0);
    assert!(!scrape.has(&series("_age_seconds", unknown)), "what was never had has no age");
    assert_eq!(scrape.value(&series("", ISSUER)), 1.0);
    assert!(!scrape.has(&series("_age_seconds", ISSUER)), "what never changes has none");
}

#[tokio::test]
async fn metrics_labels_contain_no_text_from_clients() {
    let server = Server::start();
    let token = server.token("alice-canary");
    for path in ["/canary", "/api/auth/api-keys/canary", "/api/auth/api-keys/?canary=canary", "/metrics?canary=1"] {
        server.get(path, &token).await;
    }
    wire::exchange(&server, b"CANARY /canary HTTP/1.1\r\nHost: canary\r\nConnection: close\r\n\r\n");
    let key = server.create_key_from(&token, json!({ "name": "canary" })).await;
    server.verify_code(&server.token_with("gateway", &["--scopes", "api-keys:verify"]), secret(&key)).await;

    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.requests("-", "-", 404), 1.0);
    assert_eq!(scrape.requests("-", "GET", 404), 1.0);
    for word in ["canary", "CANARY", id(&key), secret(&key), &token] {
        assert!(!scrape.0.contains(word), "{word} in\n{}", scrape.0);
    }
}

#[tokio::test]
async fn metrics_are_openmetrics_when_accepted() {
    let server = Server::start();
    let get =
        async |accept: &str| Response::to(server.request(Method::GET, "/metrics", "").header("accept", accept)).await;
    let plain = get("text/plain;version=0.0.4, */*").await;
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(plain.text.contains("\n# TYPE mintkey_cache_hits_total counter\n"), "{}", plain.text);
    assert!(!plain.text.contains("# EOF"));
    let open = get("application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(open.text.contains("\n# TYPE mintkey_cache_hits counter\n") && open.text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn metrics_on_admin_address_are_only_there() {
    let server = Server::start_with(&["--admin-listen", "127.0.0.1:0"]);
    server.get("/metrics", "").await.assert_problem(404);
    assert_eq!(server.get("/readyz", "").await.status, 200, "for who balances the load");
    server.create("garbled", json!({})).await.assert_problem(401);

    let admin = server.admin_url();
    let get = async |path: &str| Response::to(reqwest::Client::new().get(format!("{admin}{path}"))).await;
    let scrape = Scrape(get("/metrics").await.text);
    assert_eq!(scrape.requests(KEYS, "POST", 401), 1.0);
    assert!(scrape.has("mintkey_http_connections"));
    assert_eq!(
        (get("/livez").await.status, get("/readyz").await.status),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    for path in [KEYS, "/docs", "/openapi.json"] {
        get(path).await.assert_problem(404);
    }
}
