//! Health: liveness and readiness, and the checks that failed.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Response, Server, eventually};
use crate::wire;

/// Names and details of the checks that failed.
pub fn failed_checks(response: &Response) -> Vec<(&str, &str)> {
    let checks = response.body["checks"].as_array().unwrap_or_else(|| panic!("no checks: {}", response.text));
    let failed_checks = checks.iter().filter(|check| check["ok"] == false);
    failed_checks.map(|check| (check["name"].as_str().unwrap(), check["detail"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn health_of_started_server_is_live_and_ready() {
    let server = Server::start();
    let live = server.get("/livez", "").await;
    assert_eq!((live.status.as_u16(), live.body), (200, json!({ "status": "live", "checks": [] })));
    let ready = server.get("/readyz", "").await;
    assert_eq!((ready.status.as_u16(), &ready.body["status"]), (200, &json!("ready")));
    let names: Vec<_> = ready.body["checks"].as_array().unwrap().iter().map(|check| check["name"].clone()).collect();
    assert_eq!(Value::from(names), json!(["server", "store", "migrations", "issuers"]));
    assert_eq!(failed_checks(&ready), []);
    assert_eq!(ready.header("cache-control"), Some("no-store"));
    assert!(!server.log().contains("/readyz"), "probes do not fill the log");
}

#[tokio::test]
async fn health_reports_schema_of_other_version() {
    let server = Server::start();
    server.execute("UPDATE schema_version SET version = 1000, min_binary_version = 1000").await;
    let newer = server.get("/readyz", "").await;
    newer.assert_problem(503);
    assert_eq!(failed_checks(&newer), [("migrations", "are newer than this program; run the newer version")]);

    let before =
        "UPDATE schema_version SET version = (SELECT count(*) FROM seaql_migrations) - 1, min_binary_version = 1";
    server.execute(before).await;
    let older = server.get("/readyz", "").await;
    older.assert_problem(503);
    assert_eq!(failed_checks(&older), [("migrations", "1 pending; run `mintkey migrate`")]);
}

#[tokio::test]
async fn health_of_draining_server_is_live_but_not_ready() {
    let mut server = Server::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let admin = server.admin_url();
    let get = async |path: &str| Response::to(reqwest::Client::new().get(format!("{admin}{path}"))).await;
    assert_eq!(get("/readyz").await.status, 200);

    let mut in_flight = wire::connect(&server);
    let head = format!("{}Content-Length: 14\r\n\r\n{{\"name\"", wire::head(&server.token("alice")));
    in_flight.write_all(head.as_bytes()).unwrap();
    let begun = "mintkey_http_connections 1";
    eventually(Duration::from_secs(5), "the request to begin", async || {
        get("/metrics").await.text.contains(begun).then_some(())
    })
    .await;
    server.sigterm();
    let response = eventually(Duration::from_secs(5), "503", async || {
        let response = get("/readyz").await;
        (response.status == 503).then_some(response)
    })
    .await;
    response.assert_problem(503);
    assert_eq!(failed_checks(&response), [("server", "is shutting down")]);
    assert_eq!(get("/livez").await.status, 200);

    in_flight.write_all(br#": "x"}"#).unwrap();
    in_flight.write_all(b" ").unwrap();
    assert_eq!(wire::reply(in_flight).status, 201);
    assert!(server.exit_within(Duration::from_secs(10)).unwrap().success());
}

#[tokio::test]
async fn health_names_issuer_without_keys() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let issuer = format!("http://{address}");
    let server = Server::start_with(&["--issuer", &format!("{issuer},audience=x"), "--standalone-issuer"]);
    let response = server.get("/readyz", "").await;
    response.assert_problem(503);
    let expected = format!("no keys fetched yet: {issuer}; see the log");
    assert_eq!(failed_checks(&response), [("issuers", &*expected)]);
    server.wait_for_log(&["WARN", "route=\"/readyz\"", &issuer, response.header("x-request-id").unwrap()]);
    assert_eq!(server.get("/livez", "").await.status, 200);
}
