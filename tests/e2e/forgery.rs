//! Builds tokens with one fault each, and checks that all are rejected.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::provider::{Provider, header};
use crate::support::Server;

/// A listener that counts connections.
pub struct Trap {
    pub url: String,
    connections: Arc<AtomicUsize>,
}

impl Trap {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { url, connections }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Tokens, each with a description of its fault.
pub struct Forgeries<'p> {
    provider: &'p Provider,
    all: Vec<(String, String)>,
}

impl<'p> Forgeries<'p> {
    pub fn against(provider: &'p Provider) -> Self {
        Self { provider, all: Vec::new() }
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn add(&mut self, what: impl Into<String>, token: impl Into<String>) {
        self.all.push((what.into(), token.into()));
    }

    /// Adds a token with a modified header, signed by the provider.
    pub async fn header(&mut self, what: &str, change: impl FnOnce(&mut Value)) {
        let mut header = header();
        change(&mut header);
        let claims = self.provider.claims(|_| ()).to_string();
        let token = self.provider.sign_text("RS256", &header.to_string(), &claims).await;
        self.add(what, token);
    }

    /// Adds a token with modified claims, signed by the provider.
    pub async fn claims(&mut self, what: &str, change: impl FnOnce(&mut Value)) {
        let claims = self.provider.claims(change);
        let token = self.provider.sign(&header(), &claims).await;
        self.add(what, token);
    }

    pub async fn claim(&mut self, name: &str, value: Value) {
        self.claims(&format!("{name}: {value}"), |claims| claims[name] = value).await;
    }

    /// Adds a token with claims that no JSON library would write, signed by the provider.
    pub async fn text(&mut self, what: &str, from: &str, to: &str) {
        let claims = self.provider.claims(|_| ()).to_string();
        assert!(claims.contains(from), "{what}: no {from} in {claims}");
        let token = self.provider.sign_text("RS256", &header().to_string(), &claims.replace(from, to)).await;
        self.add(what, token);
    }

    /// Checks that every token gets a 401 and changes nothing.
    pub async fn assert_rejected(self, server: &Server) {
        self.assert_refused(server, |status| status == 401).await;
    }

    /// Checks that every token gets a 401, or a 503 as long as its `kid` has not been looked up, and changes nothing.
    pub async fn assert_rejected_or_undecided(self, server: &Server) {
        self.assert_refused(server, |status| status == 401 || status == 503).await;
    }

    async fn assert_refused(self, server: &Server, is_expected: impl Fn(u16) -> bool) {
        let before = server.dump().await;
        for (what, token) in &self.all {
            let response = server.create(token, json!({ "name": "forged" })).await;
            let status = response.status.as_u16();
            assert!(is_expected(status), "{what}: {}", response.text);
            response.assert_problem(status);
            match status {
                401 => {
                    assert_eq!(response.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#), "{what}")
                }
                _ => assert!(response.header("retry-after").is_some(), "{what}"),
            }
        }
        assert_eq!(server.dump().await, before);
    }
}

pub fn hs(header: &Value, claims: &Value, algorithm: hmac::Algorithm, key: &[u8]) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(algorithm, key), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Sets unused bits of the last character: a lenient decoder yields the same bytes.
pub fn unused_bits(token: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = *token.as_bytes().last().unwrap();
    let place = ALPHABET.iter().position(|digit| *digit == last).unwrap();
    format!("{}{}", &token[..token.len() - 1], char::from(ALPHABET[place + 1]))
}

pub fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

pub fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

pub fn head(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts(token)[0]).unwrap()).unwrap()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
