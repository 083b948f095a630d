//! Speed: the operations that clients wait for, each next to a minimal program that does the same work.

use super::bare;
use super::load::{Load, Pace, measure};
use super::place::{Known, Place};
use super::postgres::Postgres;
use super::report::Speed;

const VERIFY: &str = "/api/auth/api-keys/verify";
const KEYS: &str = "/api/auth/api-keys/";

/// The number of keys in the database for reads, and of those whose secrets are known.
const MANY: u64 = 100_000;
const KNOWN: u64 = 20_000;

/// A single request, repeated.
pub fn one(path: &str, body: String) -> Vec<(String, String)> {
    vec![(path.to_owned(), body)]
}

pub fn question(secret: &str) -> String {
    format!(r#"{{"key":"{secret}"}}"#)
}

fn questions(path: &str, known: &[Known]) -> Vec<(String, String)> {
    known.iter().map(|known| (path.to_owned(), question(&known.secret))).collect()
}

pub fn verify(url: &str, credential: &str, known: &[Known]) -> Load {
    Load::of(url, "POST", credential, questions(VERIFY, known)).expects(200, r#""valid":true"#)
}

pub fn verify_one(url: &str, credential: &str, secret: &str) -> Load {
    Load::of(url, "POST", credential, one(VERIFY, question(secret))).expects(200, r#""valid":true"#)
}

pub fn list(url: &str, token: &str, query: &str) -> Load {
    Load::of(url, "GET", token, one(&format!("{KEYS}{query}"), String::new())).expects(200, r#""items":[{"#)
}

pub fn get(url: &str, token: &str, known: &[Known]) -> Load {
    let paths = known.iter().map(|known| (format!("{KEYS}{}", known.id), String::new()));
    Load::of(url, "GET", token, paths.collect()).expects(200, r#""status":"active""#)
}

/// Creates by as many users as there are tokens. The creates of one user take turns at the count of the user's keys.
pub fn create(url: &str, tokens: &[String], connections: usize) -> Load {
    let load = Load::of(url, "POST", "", one(KEYS, r#"{"name":"bench"}"#.to_owned()));
    Load { credentials: tokens.to_owned(), ..load }.expects(201, r#""key":"mk_"#).over(connections)
}

/// Operations served from the cache, relative to a handler that parses and echoes.
pub async fn warm(pace: Pace) -> Vec<Speed> {
    let place = Place::sqlite();
    place.fill(MANY, 1).await;
    let (server, bare) = (place.serve(&[]), bare::serve(&place));
    let secret = &place.secret;
    let echo =
        Load::of(&bare.url, "POST", &place.gateway, one("/echo", question(secret))).expects(200, r#"{"key":"mk_"#);
    let mut forward = Load::of(&server.url, "GET", secret, one("/api/auth/forward", String::new()));
    forward.contains = "x-auth-subject: alice";
    let form = one("/api/oauth/introspect", format!("token={secret}"));
    let mut introspect = Load::of(&server.url, "POST", &place.gateway, form).expects(200, r#""active":true"#);
    introspect.content_type = "application/x-www-form-urlencoded";
    let loads = [
        echo,
        verify_one(&server.url, &place.gateway, secret),
        verify_one(&server.url, &place.gateway_token, secret),
        forward,
        introspect,
        list(&server.url, &place.owner_token, ""),
    ];
    let measured = measure(pace, &loads);
    let row = |n: usize, what, store| Speed::of(what, store, loads[n].connections, &measured[n]);
    let beside = |n: usize, what| row(n, what, "memory").against("echo", measured[n].against(&measured[0]));
    vec![
        row(0, "bare poem handler: parse and echo", "memory"),
        beside(1, "verify, key caller").at_least(0.90),
        beside(2, "verify, token caller").at_least(0.85),
        beside(3, "forward auth"),
        beside(4, "introspect"),
        row(5, "list, first page of 20", "SQLite"),
    ]
}

/// Verifications of uncached keys, relative to one plain SELECT. The cache holds some fifty keys, and the keys take turns.
pub async fn cold(pace: Pace, store: Store<'_>) -> Vec<Speed> {
    let place = store.place();
    let known = place.fill(MANY, KNOWN).await;
    let (server, bare) = (place.serve(&["--cache-size", "16KiB"]), bare::serve(&place));
    let select =
        Load::of(&bare.url, "POST", &place.gateway_token, questions("/select", &known)).expects(200, r#""name":"key "#);
    let loads = [select, verify(&server.url, &place.gateway_token, &known)];
    let measured = measure(pace, &loads);
    let row = |n: usize, what| Speed::of(what, store.name(), loads[n].connections, &measured[n]);
    let verify = row(1, "verify, not in memory").against("SELECT", measured[1].against(&measured[0]));
    let verify = match store {
        Store::Sqlite => verify.at_least_a_second(25_000.0),
        Store::Postgres(_) => verify.at_least(0.90),
    };
    vec![row(0, "bare SELECT by hash"), verify]
}

/// Creates, each durable before its response, relative to one plain INSERT per request. An INSERT of a whole key row is
/// measured next to it, to show the cost of the larger row alone.
pub async fn creates(pace: Pace, store: Store<'_>) -> Vec<Speed> {
    let (place, beside) = (store.place(), store.place());
    let (server, bare) = (place.serve(&[]), bare::serve(&beside));
    let mut rows = Vec::new();
    for connections in [1, 64] {
        let before = place.count("api_keys").await;
        let insert = |path| {
            let body = one(path, r#"{"name":"bench"}"#.to_owned());
            let load = Load::of(&bare.url, "POST", &place.owner_token, body);
            load.expects(201, r#""name":"bench""#).over(connections)
        };
        let create = create(&server.url, &place.user_tokens, connections);
        let measured = measure(pace, &[insert("/insert"), insert("/insert-key"), create]);
        let (created, acknowledged) = (place.count("api_keys").await - before, measured[2].requests());
        assert!(created >= acknowledged, "{acknowledged} creates were acknowledged, but {created} keys are stored");
        let least = match (store, connections) {
            (_, 1) => 1.0,
            (Store::Sqlite, _) => 4.0,
            (Store::Postgres(_), _) => 3.0,
        };
        let row = |n: usize, what| Speed::of(what, store.name(), connections, &measured[n]);
        let beside = |n: usize, what| row(n, what).against("INSERT", measured[n].against(&measured[0]));
        rows.push(row(0, "bare INSERT"));
        rows.push(beside(1, "bare INSERT of a key's row"));
        rows.push(beside(2, "create").at_least(least));
    }
    rows
}

#[derive(Clone, Copy)]
pub enum Store<'a> {
    Sqlite,
    Postgres(&'a Postgres),
}

impl Store<'_> {
    fn place(self) -> Place {
        match self {
            Self::Sqlite => Place::sqlite(),
            Self::Postgres(server) => Place::postgres(server),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        }
    }
}
