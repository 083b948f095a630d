//! Prometheus: a scrape under load, the checks of promtool, and the dashboard.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Response, Server, VERIFY, eventually, secret, succeed};
use crate::tools::{Running, free_port, project, python, system};

fn run_with_input(command: &mut std::process::Command, input: &str) -> std::process::Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

/// A server whose scrape has a value for every metric.
async fn server_with_all_metrics() -> (Server, String, Value) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "A".repeat(43) });
    fs::write(&file, json!({ "keys": [jwk] }).to_string()).unwrap();
    let issuer = format!("https://id.example.com,audience=x,jwks-file={}", file.display());
    let server = Server::start_with(&["--issuer", &issuer, "--standalone-issuer"]);
    server.wait_for_log(&["JWKS refreshed"]);
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let key = server.create_key(&server.token("alice"), &[]).await;
    server.verify_code(&gateway, secret(&key)).await;
    server.get("/nowhere", "").await.assert_problem(404);
    (server, gateway, key)
}

#[tokio::test]
async fn metrics_pass_promtool_and_reference_parser() {
    let (server, ..) = server_with_all_metrics().await;
    let plain = server.get("/metrics", "").await.text;
    let checked = run_with_input(system("promtool").args(["check", "metrics"]), &plain);
    let report = [checked.stdout, checked.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(checked.status.success() && report.is_empty(), "{report}\n{plain}");

    let open = server.request(Method::GET, "/metrics", "").header("accept", "application/openmetrics-text");
    let parse = "import sys; from prometheus_client.openmetrics import parser\n\
                 print(sum(len(family.samples) for family in parser.text_string_to_metric_families(sys.stdin.read())))";
    let parsed = run_with_input(python("python").args(["-c", parse]), &Response::to(open).await.text);
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    let samples: usize = String::from_utf8(parsed.stdout).unwrap().trim().parse().unwrap();
    assert!((100..2000).contains(&samples), "{samples} series of a server without traffic");
}

/// Checks that the scrape has every metric in these queries, and returns how many there are.
fn assert_scraped(queries: &[&str], scrape: &str) -> usize {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named: BTreeSet<&str> = queries
        .iter()
        .flat_map(|query| query.split(|c| !word(c)))
        .filter(|word| word.starts_with("mintkey_") || word.starts_with("process_"))
        .collect();
    for metric in &named {
        assert!(
            scrape.lines().any(|line| line.strip_prefix(*metric).is_some_and(|rest| rest.starts_with(['{', ' ']))),
            "no {metric} in\n{scrape}"
        );
    }
    named.len()
}

#[tokio::test]
async fn alerts_fire_on_metrics_that_are_all_in_a_scrape() {
    let (server, ..) = server_with_all_metrics().await;
    let rules = project().join("packaging/prometheus-alerts.yaml");
    succeed(system("promtool").args(["check", "rules", "--lint-fatal"]).arg(&rules));
    let text = fs::read_to_string(&rules).unwrap();
    let queries: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert_eq!(assert_scraped(&queries, &server.get("/metrics", "").await.text), 5);

    let series = |name: &str, values: &str| json!({ "series": name, "values": values });
    let alert = |name: &str, labels: Value| json!({ "eval_time": "10m", "alertname": name, "exp_alerts": [{ "exp_labels": labels }] });
    let test = json!({
        "interval": "1m",
        "input_series": [
            series("mintkey_store_writable{instance='full'}", "1 1 0x20"),
            series("mintkey_store_writable{instance='healthy'}", "1x20"),
            series("mintkey_revocation_lag_seconds{instance='cut off'}", "0 0 20+60x20"),
            series("mintkey_http_requests_total{job='a',instance='b',route='/x',status='503'}", "0+1x20"),
            series("mintkey_http_requests_total{job='a',instance='c',route='/readyz',status='503'}", "0+1x20"),
            series("mintkey_issuer_keys{issuer='i'}", "0x20"),
            series("mintkey_issuer_keys_age_seconds{issuer='i'}", "7000+60x20"),
        ],
        "alert_rule_test": [
            alert("MintkeyTakesNoChanges", json!({ "severity": "critical", "instance": "full" })),
            alert("MintkeyRevocationsArriveLate", json!({ "severity": "critical", "instance": "cut off" })),
            alert("MintkeyRequestsFail", json!({ "severity": "warning", "job": "a", "instance": "b" })),
            alert("MintkeyIssuerWithoutKeys", json!({ "severity": "critical", "issuer": "i" })),
            alert("MintkeyIssuerUnreachable", json!({ "severity": "warning", "issuer": "i" })),
        ],
    });
    // The annotations are texts for people, so the copy under test has none.
    let kept = text
        .lines()
        .filter(|line| !["annotations:", "summary:", "description:"].iter().any(|key| line.trim().starts_with(key)));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("rules.yml"), kept.collect::<Vec<_>>().join("\n")).unwrap();
    let file = directory.path().join("test.yml");
    fs::write(&file, json!({ "rule_files": ["rules.yml"], "tests": [test] }).to_string()).unwrap();
    succeed(system("promtool").args(["test", "rules"]).arg(&file));
}

#[tokio::test]
async fn dashboard_metrics_are_all_in_a_scrape() {
    let (server, ..) = server_with_all_metrics().await;
    let scrape = server.get("/metrics", "").await.text;
    let dashboard = fs::read_to_string(project().join("packaging/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let queries: Vec<&str> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(assert_scraped(&queries, &scrape) >= 15);
    // The parser of Prometheus accepts the queries that Grafana sends.
    let rules = queries.iter().enumerate().map(|(number, query)| {
        let query = query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*");
        json!({ "record": format!("panel:{number}"), "expr": query })
    });
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules.collect::<Value>() }] });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yml");
    fs::write(&file, rules.to_string()).unwrap();
    succeed(system("promtool").args(["check", "rules", "--lint=none"]).arg(&file));
}

#[tokio::test]
async fn prometheus_counts_every_request_under_load() {
    const REQUESTS: usize = 3000;
    let (server, gateway, key) = server_with_all_metrics().await;
    let directory = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let target = server.url.trim_start_matches("http://");
    let job = json!({ "job_name": "mintkey", "static_configs": [{ "targets": [target] }] });
    let configuration =
        json!({ "global": { "scrape_interval": "250ms", "scrape_timeout": "250ms" }, "scrape_configs": [job] });
    let file = directory.path().join("prometheus.yml");
    fs::write(&file, configuration.to_string()).unwrap();
    let mut prometheus = system("prometheus");
    prometheus
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(directory.path().join("log")).unwrap());
    let _prometheus = Running(prometheus.spawn().unwrap());
    let client = reqwest::Client::new();
    let value = async |query: &str| {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        let response = client.get(format!("http://{address}/api/v1/query?{query}")).send().await.ok()?;
        let response: Value = response.json().await.ok()?;
        response["data"]["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
    };
    eventually(Duration::from_secs(20), "a first scrape", async || (value("up").await? == 1.0).then_some(())).await;

    let verify = async || {
        for _ in 0..REQUESTS / 30 {
            let request = client.post(format!("{}{VERIFY}", server.url)).bearer_auth(&gateway);
            let response = request.json(&json!({ "key": secret(&key) })).send().await.unwrap();
            assert_eq!(response.status(), 200);
        }
    };
    futures_util::future::join_all((0..30).map(|_| verify())).await;
    let counted = format!("mintkey_http_requests_total{{route=\"{VERIFY}\",status=\"200\"}} == {}", REQUESTS + 1);
    eventually(Duration::from_secs(10), &counted, async || value(&counted).await).await;
    assert_eq!(value("mintkey_verifications_total{code=\"VALID\"}").await, Some(REQUESTS as f64 + 1.0));
    assert_eq!(value("min_over_time(up[1m])").await, Some(1.0), "no scrape failed or took over 250 ms");
}
