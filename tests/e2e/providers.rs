//! Providers of other makers: a user signs in there and creates keys with the access token. The options of `--issuer` are
//! those that docs/identity-providers.md gives for the provider.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::provider::Provider;
use crate::support::{KEYS, Response, Server, mintkey_at, succeed};
use crate::tools::{artifacts, free_port, installed, project, script};

const AUDIENCE: &str = "https://api.example.com";
const OTHER_AUDIENCE: &str = "https://other.example.com";

/// A provider, and the options with which the documentation says to trust it.
struct Subject {
    provider: Provider,
    issuer_option: String,
}

impl Subject {
    /// Starts the provider of this directory of `providers/`.
    fn start(name: &str) -> Self {
        Self::start_for(name, "http://127.0.0.1:9")
    }

    /// The same; users can sign in there on the API page of the server with this URL.
    fn start_for(name: &str, server: &str) -> Self {
        let port = free_port().to_string();
        let provider = Provider::of(script("providers/run.mjs").args([name, &port, server]));
        let issuer_option = format!("{},{}", provider.issuer, documented_options(name));
        Self { provider, issuer_option }
    }

    /// The response of the provider's token endpoint after a user has signed in.
    async fn sign_in(&self, audience: &str) -> Value {
        let tokens = self.provider.act("sign-in", json!({ "audience": audience })).await;
        assert!(tokens["access_token"].is_string(), "{tokens}; see target/e2e/provider.log");
        tokens
    }
}

/// The options after the issuer's URL, in the row of the table that links to the provider's section.
fn documented_options(anchor: &str) -> String {
    let page = std::fs::read_to_string(project().join("docs/identity-providers.md")).unwrap();
    let link = format!("](#{anchor})");
    let row = page.lines().find(|line| line.starts_with('|') && line.contains(&link)).unwrap();
    let option = row.split('`').find(|code| code.starts_with("http")).unwrap();
    option.split_once(',').unwrap().1.to_owned()
}

/// Checks that an access token creates and lists keys of its subject, and that no other token of the provider does. The
/// log has `id_token_reason` for the ID token.
async fn assert_only_access_tokens_create_keys(subject: &Subject, id_token_reason: &str) {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_in(data.path(), &["--issuer", &subject.issuer_option]);
    // One after the other: consents that a user gives at the same time can overwrite each other in better-auth.
    let (tokens, foreign) = (subject.sign_in(AUDIENCE).await, subject.sign_in(OTHER_AUDIENCE).await);
    let token = tokens["access_token"].as_str().unwrap();

    let created = server.create_key(token, &["projects:read"]).await;
    let listed = Response::to(server.request(Method::GET, KEYS, token)).await;
    assert_eq!(listed.status, StatusCode::OK, "{}", listed.text);
    let items = listed.body["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["id"]), (1, &created["id"]));
    let rows = server.rows("SELECT owner_issuer, owner_subject FROM api_keys").await;
    let column = |name: &str| rows[0].try_get::<String>("", name).unwrap();
    assert_eq!([column("owner_issuer"), column("owner_subject")], [subject.provider.issuer.clone(), sub_of(token)]);

    let before = server.counts().await;
    assert_rejected(&server, foreign["access_token"].as_str().unwrap(), &["wrong_audience", OTHER_AUDIENCE]).await;
    assert_rejected(&server, tokens["id_token"].as_str().unwrap(), &[id_token_reason]).await;
    let tomorrow = start_tomorrow(data.path(), &subject.issuer_option);
    assert_rejected(&tomorrow, token, &["expired"]).await;
    assert_eq!(server.counts().await, before);
}

/// Checks that a token gets 401, and that the log line of the request has these words.
async fn assert_rejected(server: &Server, token: &str, words: &[&str]) {
    let response = server.create(token, json!({ "name": "x" })).await;
    response.assert_problem(401);
    let request_id = response.header("x-request-id").unwrap();
    server.wait_for_log(&[&[request_id], words].concat());
}

/// Starts a server whose clock is a day ahead.
fn start_tomorrow(data: &Path, issuer_option: &str) -> Server {
    let mut command = mintkey_at(data);
    command.args(["serve", "--listen", "127.0.0.1:0", "--issuer", issuer_option]);
    command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1").env("FAKETIME", "+1d");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    Server::spawn(&mut command, data)
}

/// The claim `sub` of a token.
fn sub_of(token: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["sub"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn better_auth_access_tokens_create_keys() {
    assert_only_access_tokens_create_keys(&Subject::start("better-auth"), "wrong_typ").await;
}

#[tokio::test]
async fn glewlwyd_access_tokens_create_keys() {
    let subject = Subject::start("glewlwyd");
    let jwks = reqwest::get(format!("{}/jwks", subject.provider.issuer)).await.unwrap().json::<Value>().await.unwrap();
    let lengths = ["x", "y"].map(|name| jwks["keys"][0][name].as_str().unwrap().len());
    assert!(lengths.iter().any(|length| *length < 43), "a coordinate of fewer than 32 bytes: {jwks}");
    assert_only_access_tokens_create_keys(&subject, "wrong_typ").await;
}

#[tokio::test]
async fn lemonldap_ng_access_tokens_create_keys() {
    assert_only_access_tokens_create_keys(&Subject::start("lemonldapng"), "id_token").await;
}

#[tokio::test]
async fn docs_page_signs_in_with_lemonldap_ng() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let subject = Subject::start_for("lemonldapng", &url);
    let data = tempfile::tempdir().unwrap();
    let mut command = mintkey_at(data.path());
    command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--issuer", &subject.issuer_option]);
    let server = Server::spawn(&mut command, data.path());
    server.wait_for_log(&["JWKS refreshed"]);
    succeed(
        script("docs_page.mjs")
            .arg(installed("chromium"))
            .args([&server.url, "dwho", "made after a login"])
            .arg(artifacts().join("docs_login_lemonldap_ng.png"))
            .args([&subject.provider.issuer, "dwho"]),
    );
    let rows = server.rows("SELECT name, owner_subject FROM api_keys").await;
    let column = |name: &str| rows[0].try_get::<String>("", name).unwrap();
    assert_eq!([column("name"), column("owner_subject")], ["made after a login", "dwho"]);
}
