//! Peers: alternatives to mintkey under the same load. Each uses SQLite in WAL mode, with the same durability, and does
//! not authenticate its callers; mintkey does.

use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

use super::load::{Load, Measured, Pace, Round, measure};
use super::place::Place;
use super::postgres::free_port;
use super::process::{Process, on_servers_core};
use super::report::{Comparison, Peer, Promise};
use super::speed::{create, one, question, verify_one};
use super::{run, target};

struct Running {
    name: &'static str,
    process: Process,
    _data: TempDir,
}

/// Measures mintkey and its peers. mintkey is the first.
pub async fn measured(pace: Pace) -> Vec<Peer> {
    install();
    let place = Place::sqlite();
    let server = place.serve(&[]);
    let peers = [fastapi(), better_auth(), django()];
    let mut verifies = vec![verify_one(&server.url, &place.gateway, &place.secret)];
    let mut creates = vec![create(&server.url, &place.user_tokens, 64)];
    for peer in &peers {
        let url = &peer.process.url;
        let new = one("/keys", r#"{"name":"bench"}"#.to_owned());
        creates.push(Load::of(url, "POST", "", new).expects(201, r#""name":"bench""#));
        let presented = one("/verify", question(&first_key(url).await));
        verifies.push(Load::of(url, "POST", "", presented).expects(200, r#""valid":true"#));
    }
    let verifies = measure(pace, &verifies);
    let creates = measure(pace, &creates);
    let names = ["mintkey"].into_iter().chain(peers.iter().map(|peer| peer.name));
    let rows = names.enumerate().map(|(n, name)| Peer {
        name,
        verify: compare(&verifies, n, 60.0),
        create: compare(&creates, n, 20.0),
    });
    rows.collect()
}

/// The result of the `n`-th program. The first is mintkey, which promises to be this many times as fast as the best.
fn compare(measured: &[Measured], n: usize, promised: f64) -> Comparison {
    let times = |n: usize| measured[0].against(&measured[n]);
    let least = (1..measured.len()).map(times).fold(f64::INFINITY, f64::min);
    let Round { rate, p99, .. } = measured[n].median();
    let promise = Promise { text: format!("at least {promised}x the best"), met: least >= promised };
    Comparison { rate, p99, times: (n > 0).then(|| times(n)), promise: (n == 0).then_some(promise) }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/peers")
}

fn install() {
    let installed = run(Command::new("sh").arg(source().join("install.sh")));
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
}

fn fastapi() -> Running {
    serve("FastAPI and SQLAlchemy", "fastapi", "fastapi/bin/uvicorn", |command, port| {
        command.args(["service:app", "--port", &port.to_string(), "--log-level", "warning"]);
    })
}

fn better_auth() -> Running {
    serve("better-auth, API-key plugin", "better-auth", "/usr/bin/env", |command, _| {
        command.args(["node"]).arg(target().join("peers/better-auth/server.mjs"));
    })
}

fn django() -> Running {
    serve("djangorestframework-api-key", "django", "django/bin/gunicorn", |command, port| {
        let address = format!("127.0.0.1:{port}");
        command.args(["service:application", "--bind", &address, "--log-level", "warning", "--keep-alive", "60"]);
        command.args(["--worker-class", "gthread", "--threads", "8", "--worker-connections", "1000"]);
    })
}

fn serve(name: &'static str, room: &str, program: &str, arguments: impl FnOnce(&mut Command, u16)) -> Running {
    let data = tempfile::tempdir_in(target()).unwrap();
    let port = free_port();
    let mut command = on_servers_core(&target().join("peers").join(program));
    arguments(&mut command, port);
    command.current_dir(source().join(room)).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PORT", port.to_string()).env("DATABASE", data.path().join("keys.db"));
    Running { name, process: Process::at(&mut command, port), _data: data }
}

async fn first_key(url: &str) -> String {
    let request = Client::new().post(format!("{url}/keys")).header("content-type", "application/json");
    let response = request.body(r#"{"name":"bench"}"#).send().await.unwrap();
    let key: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    key["key"].as_str().unwrap_or_else(|| panic!("no key: {key}")).to_owned()
}
