//! Issuers: tokens of a real provider, the rotation of its keys, and its outages.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::provider::{AUDIENCE, Provider, header};
use crate::support::doctor::{assert_fails, assert_passes, run_doctor};
use crate::support::{KEYS, Response, Server, client, eventually, mintkey, secret, succeed};
use crate::tools::system;

async fn create(server: &Server, token: &str) -> Response {
    server.create(token, json!({ "name": "x" })).await
}

async fn assert_accepted(server: &Server, token: &str) {
    let response = create(server, token).await;
    assert_eq!(response.status, 201, "{}\n{}", response.text, server.log());
}

/// Checks that a token gets a 503 that blames the issuer, because its key is unavailable.
async fn assert_undecided(server: &Server, token: &str) {
    let response = create(server, token).await;
    assert!(response.assert_problem(503).contains("issuer"), "{}", response.text);
    assert!(seconds_to_wait(&response).is_some_and(|seconds| (1..=30).contains(&seconds)), "{:?}", response.headers);
    assert_eq!(response.header("www-authenticate"), None);
}

fn seconds_to_wait(response: &Response) -> Option<u64> {
    response.header("retry-after").and_then(|seconds| seconds.parse().ok())
}

#[tokio::test]
async fn issuer_tokens_create_keys_of_their_subject() {
    let provider = Provider::start();
    let server = provider.server(",organization=acme.org");
    for client in ["RS256", "ES256", "PS256", "EdDSA"] {
        assert_accepted(&server, &provider.token(client).await).await;
    }
    let rows = server.rows("SELECT owner_issuer, owner_subject, owner_organization FROM api_keys ORDER BY id").await;
    let column = |name: &str| rows.iter().map(|row| row.try_get("", name).unwrap()).collect::<Vec<String>>();
    assert_eq!(column("owner_issuer"), [(); 4].map(|()| provider.issuer.clone()));
    assert_eq!(column("owner_subject"), ["RS256", "ES256", "PS256", "EdDSA"]);
    assert_eq!(column("owner_organization"), ["acme"; 4]);
    assert_eq!(provider.fetches().await, 1);
}

#[tokio::test]
async fn issuer_scopes_come_from_configured_claim() {
    let provider = Provider::start();
    let grants = async |options: &str, change: fn(&mut Value)| {
        let server = provider.server(options);
        let token = provider.sign(&header(), &provider.claims(change)).await;
        assert_accepted(&server, &token).await;
        server.verify(&token, json!({ "key": "mk_x" })).await.status
    };
    for (options, change) in [
        ("", (|c| c["scope"] = json!("projects:read api-keys:verify")) as fn(&mut Value)),
        ("", |c| c["scope"] = json!(["projects:read", "api-keys:verify"])),
        ("", |c| {
            c.as_object_mut().unwrap().remove("scope");
            c["scp"] = json!("projects:read api-keys:verify");
        }),
        (",scopes=scp", |c| c["scp"] = json!(["api-keys:verify"])),
        (",scopes=realm_access.roles", |c| c["realm_access"] = json!({ "roles": ["x", "api-keys:verify"] })),
        (",scopes=https://example.com/roles", |c| c["https://example.com/roles"] = json!(["api-keys:verify"])),
    ] {
        assert_eq!(grants(options, change).await, StatusCode::OK, "{options}");
    }
    for (options, change) in [
        (",scopes=scp", (|c| c["scope"] = json!("api-keys:verify")) as fn(&mut Value)),
        (",scopes=realm_access.roles", |c| c["realm_access"] = json!({ "role": ["api-keys:verify"] })),
        (",scopes=realm_access.roles", |c| c["realm_access"] = json!(["api-keys:verify"])),
    ] {
        assert_eq!(grants(options, change).await, StatusCode::FORBIDDEN, "{options}");
    }
}

#[tokio::test]
async fn issuer_key_rotation_rejects_no_request() {
    let provider = Provider::start();
    let server = provider.server("");
    let old = provider.token("RS256").await;
    assert_accepted(&server, &old).await;
    let requests = async {
        for _ in 0..100 {
            assert_accepted(&server, &old).await;
        }
    };
    let rotation = async {
        provider.act("rotate", json!({ "how": "add" })).await;
        assert_accepted(&server, &provider.token("RS256").await).await;
        assert_accepted(&server, &provider.token("ES256").await).await;
    };
    tokio::join!(requests, rotation);
    assert_eq!(provider.fetches().await, 2, "one at the start, one for the first new key");
}

#[tokio::test]
async fn issuer_key_removal_rejects_tokens_accepted_before() {
    let provider = Provider::start();
    let server = provider.server("");
    let old = provider.token("RS256").await;
    assert_accepted(&server, &old).await;
    provider.act("rotate", json!({ "how": "replace" })).await;
    assert_accepted(&server, &provider.token("RS256").await).await;
    create(&server, &old).await.assert_problem(401);
}

#[tokio::test]
async fn issuer_is_fetched_rarely_for_ten_thousand_unknown_kids() {
    let provider = Provider::start();
    let server = provider.server("");
    let good = provider.token("RS256").await;
    assert_accepted(&server, &good).await;
    let token = provider.sign(&header(), &provider.claims(|_| ())).await;
    let (_, rest) = token.split_once('.').unwrap();
    let client = client();
    let started = Instant::now();
    let send = async |first: usize| {
        for kid in (first..10_000).step_by(32) {
            let header = format!(r#"{{"typ":"at+jwt","alg":"RS256","kid":"{kid}"}}"#);
            let token = format!("{}.{rest}", base64url(header.as_bytes()));
            let response = client.get(format!("{}{KEYS}", server.url)).bearer_auth(token).send().await.unwrap();
            // Only those that came before the one fetch are known to be wrong.
            assert!([401, 503].contains(&response.status().as_u16()), "{}", response.status());
        }
    };
    futures_util::future::join_all((0..32).map(send)).await;
    let (fetches, allowed) = (provider.fetches().await, 2 + started.elapsed().as_secs() as usize / 30);
    assert!((2..=allowed).contains(&fetches), "one at the start, one for all of these in 30 s: {fetches}");
    assert_accepted(&server, &good).await;
}

#[tokio::test]
async fn issuer_key_rotation_after_an_unknown_kid_rejects_no_token() {
    let provider = Provider::start();
    let server = provider.server("");
    assert_accepted(&server, &provider.token("RS256").await).await;
    let mut made_up = header();
    made_up["kid"] = json!("made-up");
    create(&server, &provider.sign(&made_up, &provider.claims(|_| ())).await).await.assert_problem(401);
    assert_eq!(provider.fetches().await, 2, "one at the start, one for the unknown kid");

    provider.act("rotate", json!({ "how": "add" })).await;
    let new = provider.token("RS256").await;
    for _ in 0..20 {
        assert_undecided(&server, &new).await;
    }
    let response = create(&server, &new).await;
    let (detail, seconds) = (response.assert_problem(503), seconds_to_wait(&response).unwrap());
    assert!(detail.contains("`kid`") && detail.contains(&format!("in {seconds} s")), "{detail}");
    server.wait_for_log(&["503", "is not among the keys of", &provider.issuer]);
    assert_eq!(provider.fetches().await, 2, "no fetch before its time");
    assert_eq!(server.counts().await[0], 1);
}

#[tokio::test]
async fn issuer_without_keys_is_fetched_no_more_often() {
    let provider = Provider::start();
    let good = provider.token("RS256").await;
    provider
        .act(
            "break",
            json!({ "how": { "status": 200, "headers": {}, "body": jwks_and_metadata(&provider, json!([])) } }),
        )
        .await;
    let server = provider.server("");
    server.wait_for_log(&["WARN", "JWKS fetch failed", "it publishes no keys"]);
    for _ in 0..50 {
        assert_undecided(&server, &good).await;
    }
    assert!(server.get("/readyz?for=changes", "").await.assert_problem(503).contains(&provider.issuer));
    let fetches = provider.fetches().await;
    assert!((2..=3).contains(&fetches), "one at the start, one for all of these, one after 30 s: {fetches}");
}

/// A document that is both JWKS and metadata, served at every path.
fn jwks_and_metadata(provider: &Provider, keys: Value) -> String {
    json!({ "issuer": provider.issuer, "jwks_uri": format!("{}/jwks", provider.issuer), "keys": keys }).to_string()
}

#[tokio::test]
async fn issuer_down_at_start_is_reported_and_recovers() {
    let provider = Provider::start();
    let token = provider.token("RS256").await;
    provider.act("break", json!({ "how": { "status": 500 } })).await;
    let server = provider.server("");
    server.wait_for_log(&["WARN", "JWKS fetch failed", "get 503", &provider.issuer, "500"]);
    assert_undecided(&server, &token).await;
    assert_eq!(server.get("/readyz", "").await.status, 200);
    assert!(server.get("/readyz?for=changes", "").await.assert_problem(503).contains(&provider.issuer));
    create(&server, "garbage.garbage.garbage").await.assert_problem(401);
    assert_eq!(server.counts().await, [0, 0, 0]);

    provider.act("break", Value::Null).await;
    eventually(Duration::from_secs(30), "the keys are fetched", async || {
        (create(&server, &token).await.status == 201).then_some(())
    })
    .await;
    assert_eq!(server.get("/readyz?for=changes", "").await.status, 200);
}

#[tokio::test]
async fn doctor_reports_what_is_wrong_with_issuer() {
    let (provider, data) = (Provider::start(), migrated());
    let run = || {
        let mut command = doctor(data.path());
        run_doctor(command.args(["--issuer", &provider.line("")]))
    };
    assert_passes(&run(), "issuers", &["keys fetched of all that are configured: 1"]);
    let other = json!({ "issuer": "https://other.example", "jwks_uri": "https://a/" }).to_string();
    for (how, words) in [
        (json!({ "status": 500 }), "responded with 500"),
        (json!({ "status": 200, "body": other }), "has another `issuer`, \"https://other.example\"; configure exactly"),
        (json!({ "status": 200, "body": jwks_and_metadata(&provider, json!([])) }), "publishes no keys"),
        (json!("hang"), "took more than 5 seconds"),
    ] {
        provider.act("break", json!({ "how": how })).await;
        let started = Instant::now();
        assert_fails(&run(), "issuers", &[&provider.issuer, words, "--issuer"]);
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    }
}

/// A data directory with a migrated database.
fn migrated() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    std::fs::set_permissions(data.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    succeed(mintkey().args(["migrate", "--data-dir"]).arg(data.path()));
    data
}

/// Doctor on the data directory of a deployment.
fn doctor(data: &std::path::Path) -> std::process::Command {
    let mut command = mintkey();
    command.args(["doctor", "--listen", "127.0.0.1:0", "--max-connections", "100", "--data-dir"]).arg(data);
    command
}

#[tokio::test]
async fn issuer_outage_affects_only_tokens_with_unknown_kids() {
    let provider = Provider::start();
    let server = provider.server("");
    let [first, second] = [provider.token("RS256").await, provider.token("RS256").await];
    let key = server.create_key(&first, &["projects:read"]).await;
    let gateway = server.create_key_from(&first, json!({ "name": "gateway", "scopes": ["api-keys:verify"] })).await;
    provider.act("rotate", json!({ "how": "add" })).await;
    let new = provider.token("RS256").await;

    provider.act("break", json!({ "how": { "status": 503 } })).await;
    for _ in 0..5 {
        assert_undecided(&server, &new).await;
    }
    assert_eq!(provider.fetches().await, 2, "one at the start, one that failed");
    assert_accepted(&server, &first).await;
    assert_accepted(&server, &second).await;
    assert_eq!(server.verify_code(secret(&gateway), secret(&key)).await, "VALID");
    // A token that no key can make valid is rejected without the provider.
    let expired = provider.sign(&header(), &provider.claims(|claims| claims["exp"] = json!(1))).await;
    create(&server, &expired).await.assert_problem(401);
}

#[tokio::test]
async fn issuer_that_misbehaves_is_not_followed_or_awaited() {
    let provider = Provider::start();
    let elsewhere = Provider::start();
    let token = provider.token("RS256").await;
    let location = format!("{}/.well-known/openid-configuration", elsewhere.issuer);
    let big = format!("{{\"issuer\":\"{}\"{}", provider.issuer, " ".repeat(1 << 20));
    let keys = vec![json!({}); 101];
    for (how, expected) in [
        (json!({ "status": 302, "headers": { "location": location } }), "302 Found to"),
        (json!({ "status": 200, "headers": { "content-encoding": "gzip" }, "body": "{}" }), "content coding"),
        (json!({ "status": 200, "body": big }), "1 MiB"),
        (json!({ "status": 200, "body": "<html>" }), "RFC 8414"),
        (
            json!({ "status": 200, "body": json!({ "issuer": elsewhere.issuer, "jwks_uri": "https://a/" }).to_string() }),
            "has another",
        ),
        (
            json!({ "status": 200, "body": json!({ "issuer": format!("{}/", provider.issuer), "jwks_uri": "https://a/" }).to_string() }),
            "has another",
        ),
        (
            json!({ "status": 200, "body": json!({ "issuer": provider.issuer, "jwks_uri": "http://id.example.com/" }).to_string() }),
            "is http; use https",
        ),
        (json!({ "status": 200, "body": jwks_and_metadata(&provider, json!(keys)) }), "100 keys"),
        (json!({ "status": 404 }), "404 Not Found; if the provider publishes no metadata, set the option jwks-uri"),
        (json!("hang"), "took more than 5 seconds"),
    ] {
        provider.act("break", json!({ "how": how })).await;
        let server = provider.server("");
        let started = Instant::now();
        assert_undecided(&server, &token).await;
        assert!(started.elapsed() < Duration::from_secs(7), "{expected}: {:?}", started.elapsed());
        server.wait_for_log(&["JWKS fetch failed", expected]);
    }
    assert_eq!(elsewhere.act("requests", Value::Null).await, json!([]));
}

#[tokio::test]
async fn issuer_with_untrusted_certificate_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let pem = directory.path().join("provider.pem");
    let pem_text = pem.to_str().unwrap();
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=provider \
        -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    succeed(system("openssl").args(request.split_whitespace()).args(["-keyout", pem_text, "-out", pem_text]));
    let provider = Provider::with_certificate(&pem);
    let token = provider.sign(&header(), &provider.claims(|_| ())).await;
    let serve = |name: &str, certificates: Option<&str>| {
        let data = directory.path().join(name);
        let mut command = mintkey();
        command.args(["serve", "--listen", "127.0.0.1:0", "--issuer", &provider.line(""), "--data-dir"]).arg(&data);
        command.envs(certificates.map(|path| ("SSL_CERT_FILE", path)));
        Server::spawn(&mut command, &data)
    };
    assert_accepted(&serve("trusting", Some(pem_text)), &token).await;
    let wary = serve("wary", None);
    assert_undecided(&wary, &token).await;
    wary.wait_for_log(&["JWKS fetch failed", "certificate"]);

    let (line, data) = (provider.line(""), migrated());
    assert_fails(
        &run_doctor(doctor(data.path()).args(["--issuer", &line])),
        "issuers",
        &["certificate", "SSL_CERT_FILE"],
    );
    let report = run_doctor(doctor(data.path()).args(["--issuer", &line]).env("SSL_CERT_FILE", pem_text));
    assert_passes(&report, "issuers", &["keys fetched"]);
}

#[tokio::test]
async fn issuer_keys_can_come_from_a_file() {
    let provider = Provider::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jwks.json");
    let jwks = reqwest::get(format!("{}/jwks", provider.issuer)).await.unwrap().text().await.unwrap();
    std::fs::write(&file, jwks).unwrap();
    let server = provider.server(&format!(",jwks-file={}", file.display()));
    let fetches = provider.fetches().await;
    assert_accepted(&server, &provider.token("ES256").await).await;

    provider.act("rotate", json!({ "how": "add" })).await;
    let new = provider.token("ES256").await;
    let jwks = reqwest::get(format!("{}/jwks", provider.issuer)).await.unwrap().text().await.unwrap();
    std::fs::write(&file, jwks).unwrap();
    assert_accepted(&server, &new).await;
    assert_eq!(provider.fetches().await, fetches + 1, "only this test fetched");
}

#[tokio::test]
async fn issuer_keys_can_come_from_another_name() {
    let provider = Provider::start();
    let line = format!("https://id.example.com,audience={AUDIENCE},audience=spa,jwks-uri={}/jwks", provider.issuer);
    let server = Server::start_with(&["--issuer", &line]);
    for audience in [AUDIENCE, "spa"] {
        let claims = provider.claims(|claims| {
            claims["iss"] = json!("https://id.example.com");
            claims["aud"] = json!(audience);
        });
        assert_accepted(&server, &provider.sign(&header(), &claims).await).await;
    }
    create(&server, &provider.token("RS256").await).await.assert_problem(401);
    let requests = provider.act("requests", Value::Null).await;
    let discovery = requests.as_array().unwrap().iter().filter(|path| path.as_str().unwrap().contains(".well-known"));
    assert_eq!(discovery.count(), 0, "{requests}");
}

#[tokio::test]
async fn built_in_issuer_is_off_unless_enabled() {
    let provider = Provider::start();
    let both = Server::start_with(&["--issuer", &provider.line(""), "--standalone-issuer"]);
    let standalone = both.token("alice");
    assert_accepted(&both, &standalone).await;
    assert_accepted(&both, &provider.token("RS256").await).await;
    let list = Response::to(both.request(Method::GET, KEYS, &standalone)).await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1, "the same sub of another issuer is another owner");

    let server = Server::start_in(&both.data, &["--issuer", &provider.line("")]);
    create(&server, &standalone).await.assert_problem(401);
    assert!(!server.log().contains("signing"), "{}", server.log());
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
