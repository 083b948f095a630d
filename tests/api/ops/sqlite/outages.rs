//! Outages: the database is locked, missing or replaced, and available again later.

use std::fs;
use std::time::{Duration, Instant};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use serde_json::json;

use crate::ops::health::failed_checks;
use crate::support::{Response, Server, eventually, secret};

/// Takes SQLite's write lock over another connection.
async fn lock(server: &Server) -> DatabaseConnection {
    let mut options = ConnectOptions::new(format!("sqlite://{}", server.data.join("mintkey.db").display()));
    options.max_connections(1);
    let other = Database::connect(options).await.unwrap();
    other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    other
}

fn assert_unavailable(response: &Response) {
    let detail = response.assert_problem(503);
    for word in ["sqlite", "SQLite", "locked", "mintkey.db", "code:"] {
        assert!(!detail.contains(word), "{detail}");
    }
    let seconds: u32 = response.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds >= 1);
}

#[tokio::test]
async fn outage_of_locked_database_is_503_until_released() {
    let server = Server::start();
    let token = server.token("alice");
    let other = lock(&server).await;
    let started = Instant::now();
    assert_unavailable(&server.create(&token, json!({ "name": "x" })).await);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    server.wait_for_log(&["WARN", "status=503", "cause="]);

    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert_eq!(server.counts().await, [0, 0, 0]);
    assert_eq!(server.create(&token, json!({ "name": "x" })).await.status, 201);
    assert_eq!(server.counts().await, [1, 1, 1]);
}

#[tokio::test]
async fn outage_of_locked_database_fails_all_requests() {
    let server = Server::start_with(&["--max-keys-per-owner", "unlimited"]);
    let token = server.token("alice");
    let create_all = async || {
        let requests = (0..200).map(|_| server.create(&token, json!({ "name": "x" })));
        futures_util::future::join_all(requests).await
    };
    let other = lock(&server).await;
    for response in create_all().await {
        assert_unavailable(&response);
    }
    server.wait_for_log(&["WARN", "status=503", "another process holds the write lock of", "mintkey.db"]);

    other.execute_unprepared("ROLLBACK").await.unwrap();
    assert!(create_all().await.iter().all(|response| response.status == 201));
    assert_eq!(server.counts().await, [200, 200, 200]);
}

#[tokio::test]
async fn outage_of_missing_database_file_is_503_until_back() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:write"]);
    let key = server.create_key(&token, &["api-keys:write"]).await;
    let (here, away) = (server.data.join("mintkey.db"), server.data.join("away.db"));

    fs::rename(&here, &away).unwrap();
    for credential in [&*token, key["key"].as_str().unwrap()] {
        assert_unavailable(&server.create(credential, json!({ "name": "y" })).await);
    }
    assert!(!here.exists(), "no second database is begun");

    fs::rename(&away, &here).unwrap();
    for credential in [&*token, key["key"].as_str().unwrap()] {
        assert_eq!(server.create(credential, json!({ "name": "z" })).await.status, 201);
    }
    assert_eq!(server.counts().await, [3, 3, 3]);
    assert_eq!(server.rows("SELECT 1 FROM api_keys WHERE name = 'y'").await.len(), 0);
}

#[tokio::test]
async fn outage_of_replaced_database_writes_nothing() {
    let server = Server::start();
    let token = server.token("alice");
    server.create_key(&token, &[]).await;
    let here = server.data.join("mintkey.db");
    fs::rename(&here, server.data.join("away.db")).unwrap();
    fs::write(&here, "").unwrap();
    assert_unavailable(&server.create(&token, json!({ "name": "y" })).await);
    assert_eq!(fs::metadata(&here).unwrap().len(), 0);
}

#[tokio::test]
async fn outage_still_reports_bad_requests() {
    let server = Server::start();
    let token = server.token("alice");
    fs::rename(server.data.join("mintkey.db"), server.data.join("away.db")).unwrap();
    server.create(&token, json!({})).await.assert_problem(422);
    server.create("garbled", json!({})).await.assert_problem(401);
    assert_eq!(reqwest::get(format!("{}/openapi.json", server.url)).await.unwrap().status(), 200);
}

#[tokio::test]
async fn outage_makes_server_live_but_not_ready() {
    let server = Server::start();
    let (database, away) = (server.data.join("mintkey.db"), server.data.join("away.db"));
    fs::rename(&database, &away).unwrap();
    let response = server.get("/readyz", "").await;
    let detail = response.assert_problem(503);
    assert!(detail.contains("store") && !detail.contains("server is"), "{detail}");
    assert_eq!(response.header("retry-after"), Some("1"));
    let [(verifications, _), (store, why), (migrations, _), ..] = failed_checks(&response)[..] else {
        panic!("{}", response.text)
    };
    assert_eq!([verifications, store, migrations], ["verifications", "store", "migrations"]);
    assert!(why.contains("log") && !response.text.contains("mintkey.db"), "{}", response.text);
    server.wait_for_log(&[
        "WARN",
        "route=\"/readyz\"",
        "database file is gone",
        response.header("x-request-id").unwrap(),
    ]);
    assert_eq!(server.get("/livez", "").await.status, 200);

    fs::rename(&away, &database).unwrap();
    assert_eq!(server.get("/readyz", "").await.status, 200);
}

#[tokio::test]
async fn outage_of_writes_is_reported_and_leaves_verifications_ready() {
    let server = Server::start();
    let metric = async |value: &str| {
        let line = format!("mintkey_store_writable {value}\n");
        let found = async || server.get("/metrics", "").await.text.contains(&line).then_some(());
        eventually(Duration::from_secs(20), &line, found).await;
    };
    metric("1").await;
    let other = lock(&server).await;
    let changes = async |status: u16| {
        let reported = async || {
            let response = server.get("/readyz?for=changes", "").await;
            (response.status == status).then_some(response)
        };
        eventually(Duration::from_secs(20), "readiness for changes", reported).await
    };
    let refused = changes(503).await;
    assert!(refused.assert_problem(503).contains("writes fail"), "{}", refused.text);
    metric("0").await;
    let verifications = server.get("/readyz", "").await;
    assert_eq!((verifications.status.as_u16(), failed_checks(&verifications)[0].0), (200, "writes"));
    server.wait_for_log(&["WARN", "the database takes no changes", "write lock"]);
    other.execute_unprepared("ROLLBACK").await.unwrap();
    changes(200).await;
    metric("1").await;
    server.wait_for_log(&["INFO", "the database takes changes again"]);
}

#[tokio::test]
async fn outage_leaves_verifications_ready_while_a_key_is_cached() {
    let server = Server::start_with(&["--max-staleness", "20s"]);
    let gateway = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let key = server.create_key(&server.token("alice"), &[]).await;
    assert_eq!(server.verify_code(&gateway, secret(&key)).await, "VALID");
    fs::rename(server.data.join("mintkey.db"), server.data.join("away.db")).unwrap();
    let ready = server.get("/readyz", "").await;
    assert_eq!(ready.status, 200, "{}", ready.text);
    assert!(ready.text.contains("of cached keys are served for"), "{}", ready.text);
    server.get("/readyz?for=changes", "").await.assert_problem(503);
    let unready = async || (server.get("/readyz", "").await.status == 503).then_some(());
    eventually(Duration::from_secs(60), "the end of --max-staleness", unready).await;
    server.verify(&gateway, json!({ "key": secret(&key) })).await.assert_problem(503);
}
