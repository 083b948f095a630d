//! Traces: the spans that a collector receives over OTLP.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, mintkey, secret};
use crate::tools::{Running, project, python};

struct Collector {
    _process: Running,
    port: u16,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start() -> Self {
        let mut command = python("python");
        command.arg(project().join("tests/e2e/otlp_collector.py"));
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.next().expect("the collector prints its port").parse().unwrap();
        let spans: Arc<Mutex<Vec<Value>>> = Arc::default();
        let received = spans.clone();
        std::thread::spawn(move || {
            lines.for_each(|line| received.lock().unwrap().push(serde_json::from_str(&line).unwrap()))
        });
        Self { _process: Running(process), port, spans }
    }

    /// Starts a server that exports its spans here without delay.
    fn server(&self, data: &tempfile::TempDir) -> Server {
        let mut command = mintkey();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{}", self.port))
            .env("OTEL_BSP_SCHEDULE_DELAY", "100");
        Server::spawn(&mut command, data.path())
    }

    /// Waits for the span of the request with this response.
    fn span(&self, response: &Response) -> Value {
        let id = response.header("x-request-id").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let spans = self.spans.lock().unwrap();
            if let Some(span) = spans.iter().find(|span| span["attributes"]["mintkey.request_id"] == id) {
                return span.clone();
            }
            assert!(Instant::now() < deadline, "no span of {id} in {spans:#?}");
            drop(spans);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn trace_joins_client_trace_and_contains_queries() {
    let (collector, data) = (Collector::start(), tempfile::tempdir().unwrap());
    let server = collector.server(&data);
    let token = server.token("alice-canary");
    let request =
        server.request(Method::POST, KEYS, &token).header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let created = Response::to(request.json(&json!({ "name": "canary", "metadata": { "canary": "canary" } }))).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let verified = server.verify(&gateway, json!({ "key": secret(&created.body) })).await;
    let refused = server.get(&format!("{KEYS}canary?canary=canary"), "canary").await;

    let span = collector.span(&created);
    assert_eq!((&span["trace"], &span["parent"]), (&json!(TRACE), &json!("00f067aa0ba902b7")));
    assert_eq!((&span["name"], &span["kind"]), (&json!(format!("POST {KEYS}")), &json!(2)));
    assert_eq!(span["resource"]["service.name"], "mintkey");
    assert_eq!(span["resource"]["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        span["attributes"],
        json!({
            "http.request.method": "POST", "http.route": KEYS, "http.response.status_code": 201,
            "mintkey.request_id": created.header("x-request-id"),
        })
    );
    server.wait_for_log(&["status=201", TRACE]);
    let spans = collector.spans.lock().unwrap().clone();
    let batch = spans.iter().find(|batch| batch["parent"] == span["span"] && batch["name"] == "batch").unwrap();
    let query: Vec<_> = spans.iter().filter(|query| query["parent"] == batch["span"]).collect();
    assert!(!query.is_empty() && query.iter().all(|query| query["attributes"]["db.system"] == "sqlite"), "{query:#?}");

    let span = collector.span(&verified);
    assert_eq!(span["name"], "POST /api/auth/api-keys/verify");
    assert!(span["seconds"].as_f64().unwrap() > 0.0 && span["status"] == 0, "{span}");
    let span = collector.span(&refused);
    assert_eq!(
        (&span["name"], &span["attributes"]["http.response.status_code"]),
        (&json!("GET /api/auth/api-keys/{id}"), &json!(refused.status.as_u16()))
    );
    server.wait_for_log(&["status=400", span["trace"].as_str().unwrap()]);

    let spans = format!("{:?}", collector.spans.lock().unwrap());
    for canary in ["canary", secret(&created.body), &token, &gateway] {
        assert!(!spans.contains(canary), "{canary} in {spans}");
    }
}

#[tokio::test]
async fn trace_spans_are_flushed_at_shutdown_with_error_status() {
    let (collector, data) = (Collector::start(), tempfile::tempdir().unwrap());
    let mut server = collector.server(&data);
    std::fs::rename(data.path().join("mintkey.db"), data.path().join("away.db")).unwrap();
    let response = server.create(&server.token("alice"), json!({ "name": "x" })).await;
    response.assert_problem(503);
    std::fs::rename(data.path().join("away.db"), data.path().join("mintkey.db")).unwrap();
    assert!(server.terminate().success(), "{}", server.log());
    assert_eq!(collector.span(&response)["status"], 2, "an error");
}

#[tokio::test]
async fn trace_collector_outage_is_logged_and_stops_no_request() {
    let data = tempfile::tempdir().unwrap();
    let collector = Collector::start();
    let server = collector.server(&data);
    drop(collector);
    for _ in 0..20 {
        let started = Instant::now();
        server.create("garbled", json!({})).await.assert_problem(401);
        // The exporter's own limit is ten seconds.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
    server.wait_for_log(&["ERROR", "opentelemetry"]);
}
