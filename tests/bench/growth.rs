//! Growth: the same requests to databases with more and more keys. All servers run at once and take turns, so that drift
//! of the machine affects all of them.

use std::time::Instant;

use reqwest::Client;
use serde_json::Value;

use super::load::{Load, Pace, measure};
use super::place::{Known, Place};
use super::process::Process;
use super::report::{Growth, Promise};
use super::speed::{get, list, verify};

const SMALLEST: u64 = 1_000;
const KNOWN: u64 = 20_000;
const PAGE: u64 = 20;
const MOST: f64 = 1.5;

struct Size {
    keys: u64,
    place: Place,
    known: Vec<Known>,
}

/// Measures from a thousand keys to `largest`, in powers of ten.
pub async fn measured(pace: Pace, largest: u64) -> Vec<Growth> {
    let mut sizes = Vec::new();
    for keys in std::iter::successors(Some(SMALLEST), |keys| Some(keys * 10)).take_while(|keys| *keys <= largest) {
        let (place, started) = (Place::sqlite(), Instant::now());
        let known = place.fill(keys, KNOWN.min(keys / 2)).await;
        let file = std::fs::metadata(place.path().join("mintkey.db")).unwrap().len();
        eprintln!("growth: {keys} keys written in {:.1} s, {} MB", started.elapsed().as_secs_f64(), file >> 20);
        sizes.push(Size { keys, place, known });
    }
    let mut rows = Vec::new();

    // The checking pass, which sends every request, fills the cache before the measurement.
    let servers = serve(&sizes, &[]);
    rows.push(row("verify, in memory", pace, &sizes, |n| {
        verify(&servers[n].url, &sizes[n].place.gateway_token, &sizes[n].known)
    }));
    rows.push(row("get", pace, &sizes, |n| get(&servers[n].url, &sizes[n].place.owner_token, &sizes[n].known)));
    let first = format!("?limit={PAGE}");
    rows.push(row("list, first page", pace, &sizes, |n| list(&servers[n].url, &sizes[n].place.owner_token, &first)));
    let mut thousandth = Vec::new();
    for (server, size) in servers.iter().zip(&sizes) {
        thousandth.push(walk(&server.url, &size.place.owner_token, size.keys / 2 / PAGE).await);
    }
    rows.push(row("list, 1000th page", pace, &sizes, |n| {
        list(&servers[n].url, &sizes[n].place.owner_token, &thousandth[n])
    }));
    drop(servers);

    let servers = serve(&sizes, &["--cache-size", "16KiB"]);
    rows.push(row("verify, not in memory", pace, &sizes, |n| {
        verify(&servers[n].url, &sizes[n].place.gateway_token, &sizes[n].known)
    }));
    rows
}

fn serve(sizes: &[Size], arguments: &[&str]) -> Vec<Process> {
    sizes.iter().map(|size| size.place.serve(arguments)).collect()
}

fn row(what: &str, pace: Pace, sizes: &[Size], load: impl Fn(usize) -> Load) -> Growth {
    let loads: Vec<_> = (0..sizes.len()).map(load).collect();
    let measured = measure(pace, &loads);
    let times: Vec<_> = measured.iter().map(|size| measured[0].against(size)).collect();
    let slowest = times.iter().copied().fold(0.0, f64::max);
    Growth {
        what: what.to_owned(),
        keys: sizes.iter().map(|size| size.keys).collect(),
        rates: measured.iter().map(|size| size.median().rate).collect(),
        promise: Promise { text: format!("within {MOST}x"), met: slowest <= MOST },
        slower: times,
    }
}

/// Follows `next_cursor` and returns the query of the thousandth page, or of the last full one.
async fn walk(url: &str, token: &str, full_pages: u64) -> String {
    let client = Client::new();
    let mut query = format!("?limit={PAGE}");
    for _ in 1..full_pages.min(1000) {
        let response = client.get(format!("{url}/api/auth/api-keys/{query}")).bearer_auth(token).send().await.unwrap();
        let page: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        let cursor = page["next_cursor"].as_str().unwrap_or_else(|| panic!("a last page too soon: {page}"));
        query = format!("?limit={PAGE}&cursor={cursor}");
    }
    query
}
