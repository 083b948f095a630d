//! Sampled logs: requests without a valid credential cannot fill the log.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::ops::logs::request_lines;
use crate::ops::metrics::Scrape;
use crate::support::{KEYS, Server, eventually};

const REQUESTS: usize = 400;

#[tokio::test]
async fn log_of_refused_requests_is_sampled_and_says_how_many_are_omitted() {
    let server = Server::start();
    let token = server.token("alice");
    let refused = join_all((0..REQUESTS).map(|_| server.create("garbled", json!({ "name": "x" })))).await;
    assert!(refused.iter().all(|response| response.status == 401));
    server.wait_for_log(&["request lines omitted", KEYS, "401"]);
    // An authenticated caller's requests have a line each.
    let unknown = format!("{KEYS}nonsense");
    for response in join_all((0..REQUESTS / 4).map(|_| server.get(&unknown, &token))).await {
        response.assert_problem(404);
    }
    let scrape = Scrape::of(&server).await;
    let omitted = scrape.value("mintkey_log_lines_omitted_total") as usize;
    assert!(omitted > 0);
    assert_eq!(scrape.requests(KEYS, "POST", 401) as usize, REQUESTS);
    let lines = || request_lines(&server);
    let written = |status: &str| lines().iter().filter(|line| line["status"] == status).count();
    eventually(Duration::from_secs(20), "the lines of the caller", async || {
        (written("404") == REQUESTS / 4).then_some(())
    })
    .await;
    assert_eq!(written("401") + omitted, REQUESTS, "{}", server.log());
    let log = server.log();
    let reports = log.lines().filter(|line| line.contains("request lines omitted"));
    let reported: usize = reports.map(|line| line.rsplit_once("omitted=").unwrap().1.parse::<usize>().unwrap()).sum();
    assert!(reported > 0 && reported <= omitted, "{reported} of {omitted}");
}
