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

/// The names of the checks of which this is true.
fn names(response: &Response, is_listed: impl Fn(&Value) -> bool) -> Vec<&str> {
    let checks = response.body["checks"].as_array().unwrap();
    checks.iter().filter(|check| is_listed(check)).map(|check| check["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn health_of_started_server_is_live_and_ready() {
    let server = Server::start();
    let live = server.get("/livez", "").await;
    assert_eq!((live.status.as_u16(), live.body), (200, json!({ "status": "live", "checks": [] })));
    let ready = server.get("/readyz", "").await;
    assert_eq!((ready.status.as_u16(), &ready.body["status"]), (200, &json!("ready")));
    let issuer = "issuer urn:mintkey:standalone";
    assert_eq!(names(&ready, |_| true), ["server", "verifications", "store", "migrations", "writes", issuer]);
    assert_eq!(failed_checks(&ready), []);
    assert_eq!(ready.header("cache-control"), Some("no-store"));
    assert!(!server.log().contains("/readyz"), "probes do not fill the log");
}

#[tokio::test]
async fn readiness_requires_the_checks_of_its_purpose() {
    let server = Server::start();
    for (query, purpose, expected) in [
        ("", "verifications", &["server", "verifications"][..]),
        ("?for=verifications", "verifications", &["server", "verifications"]),
        ("?for=changes", "changes", &["server", "store", "migrations", "writes"]),
    ] {
        let ready = server.get(&format!("/readyz{query}"), "").await;
        assert_eq!((ready.status.as_u16(), &ready.body["for"]), (200, &json!(purpose)), "{}", ready.text);
        assert_eq!(names(&ready, |check| check["required"] == true), expected);
    }
    for query in ["for=", "for", "for=writes", "for=changes&for=changes", "purpose=changes"] {
        let detail = server.get(&format!("/readyz?{query}"), "").await.assert_problem(400).to_owned();
        assert!(!query.starts_with("for=w") || detail.contains("verifications or changes, not writes"), "{detail}");
    }
}

#[tokio::test]
async fn health_reports_schema_of_other_version() {
    let server = Server::start();
    server.execute("UPDATE schema_version SET version = 1000, min_binary_version = 1000").await;
    let newer = server.get("/readyz", "").await;
    newer.assert_problem(503);
    let verifications = ("verifications", "need other tables; see migrations");
    assert_eq!(
        failed_checks(&newer),
        [verifications, ("migrations", "are newer than this program; run the newer version")]
    );

    let before =
        "UPDATE schema_version SET version = (SELECT count(*) FROM seaql_migrations) - 1, min_binary_version = 1";
    server.execute(before).await;
    let older = server.get("/readyz", "").await;
    older.assert_problem(503);
    assert_eq!(failed_checks(&older), [verifications, ("migrations", "1 pending; run `mintkey migrate`")]);
    server.get("/readyz?for=changes", "").await.assert_problem(503);
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
async fn issuer_without_keys_prevents_changes_if_it_is_the_only_one() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let issuer = format!("http://{address}");
    let name = format!("issuer {issuer}");
    let trusted = format!("{issuer},audience=x");
    let server = Server::start_with(&["--issuer", &trusted]);
    server.wait_for_log(&["WARN", "JWKS fetch failed", &issuer]);
    let verifications = server.get("/readyz", "").await;
    assert_eq!(verifications.status, 200, "{}", verifications.text);
    let [(failed, why)] = failed_checks(&verifications)[..] else { panic!("{}", verifications.text) };
    assert!(failed == name && why.contains("tokens get 503") && why.contains("JWKS fetch failed"), "{why}");
    let changes = server.get("/readyz?for=changes", "").await;
    let detail = changes.assert_problem(503);
    assert!(detail.contains("Not ready for changes") && detail.contains(&name), "{detail}");
    server.wait_for_log(&["WARN", "route=\"/readyz\"", &issuer, changes.header("x-request-id").unwrap()]);
    assert_eq!(server.get("/livez", "").await.status, 200);

    let with_other = Server::start_with(&["--issuer", &trusted, "--standalone-issuer"]);
    let changes = with_other.get("/readyz?for=changes", "").await;
    assert_eq!((changes.status.as_u16(), failed_checks(&changes).len()), (200, 1), "{}", changes.text);
}
