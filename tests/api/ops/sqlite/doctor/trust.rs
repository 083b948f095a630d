//! Doctor: unusable certificates, and issuers whose keys are unavailable.

use super::*;
use crate::support::doctor::assert_passes;
use crate::support::postgres::free_port;
use crate::support::run;

/// Creates a certificate and its key as of another time, valid for this many days from then.
fn certificate(directory: &Path, made: &str, days: &str) -> [PathBuf; 2] {
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.join(name));
    let mut openssl = Command::new("faketime");
    openssl.args([made, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    openssl.args(["-subj", "/CN=mintkey", "-days", days, "-out"]).arg(&cert).arg("-keyout").arg(&key);
    let made = run(&mut openssl);
    assert!(made.status.success(), "faketime or openssl is missing: run make tools\n{made:?}");
    [cert, key]
}

fn doctor_with_tls(data: &Path, [cert, key]: &[PathBuf; 2]) -> (String, bool) {
    doctor(data, &["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()])
}

#[tokio::test]
async fn doctor_fails_on_certificate_expired_or_soon_expiring() {
    let data = create_deployment().await;
    let directory = tempfile::tempdir().unwrap();
    let made = |made: &str, days: &str| doctor_with_tls(data.path(), &certificate(directory.path(), made, days));
    assert_passes(&made("-1 day", "90"), "tls", &["valid until"]);
    assert_passes(&made("-1 day", "6"), "tls", &["valid until"]);
    assert_fails(&made("2020-01-01 00:00:00", "2"), "tls", &["expired at 2020-01-03", "cert.pem", "renew it"]);
    assert_fails(&made("2100-01-01 00:00:00", "2"), "tls", &["not valid before 2100-01-01", "clock"]);
    assert_fails(&made("-80 days", "90"), "tls", &["expires soon", "renew it", "automatic renewal"]);
    assert_fails(&made("-5 days", "6"), "tls", &["expires soon"]);
}

#[tokio::test]
async fn doctor_fails_on_expired_certificate_in_chain() {
    let data = create_deployment().await;
    let [good, old] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [cert, key] = certificate(good.path(), "-1 day", "90");
    let [expired, _] = certificate(old.path(), "2020-01-01 00:00:00", "2");
    fs::write(&cert, [fs::read(&cert).unwrap(), fs::read(expired).unwrap()].concat()).unwrap();
    assert_fails(
        &doctor_with_tls(data.path(), &[cert, key]),
        "tls",
        &["an intermediate certificate", "expired at 2020-01-03"],
    );
}

#[tokio::test]
async fn doctor_fails_on_unusable_tls_files() {
    let data = create_deployment().await;
    let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [cert, key] = certificate(one.path(), "-1 day", "90");
    let [_, others] = certificate(other.path(), "-1 day", "90");
    let nowhere = one.path().join("nowhere");
    let assert_fails_with = |cert: &PathBuf, key: &PathBuf, words: &[&str]| {
        assert_fails(&doctor_with_tls(data.path(), &[cert.clone(), key.clone()]), "tls", words);
    };
    assert_fails_with(&nowhere, &key, &["--tls-cert", "nowhere", "can be read"]);
    assert_fails_with(&key, &key, &["--tls-cert", "certificate in PEM"]);
    assert_fails_with(&cert, &others, &["--tls-key", "not the key of the certificate", "belong together"]);

    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    assert_fails(
        &doctor_with_tls(data.path(), &[cert, key]),
        "files",
        &["key.pem", "accessible to all", "644", "chmod o="],
    );
}

#[tokio::test]
async fn doctor_passes_beside_running_tls_server() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(directory.path(), "-1 day", "90");
    let tls = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let server = Server::start_with(&tls);
    fs::set_permissions(&server.data, Permissions::from_mode(0o700)).unwrap();
    let listen = server.url.trim_start_matches("http://");
    let mut command = mintkey();
    command.args(["doctor", "--max-connections", "100", "--listen", listen]).args(tls);
    assert_passes(&run_doctor(command.arg("--data-dir").arg(&server.data)), "listen", &["a mintkey is running there"]);
}

#[tokio::test]
async fn doctor_fails_on_unreachable_or_invalid_issuer() {
    let data = create_deployment().await;
    let doctor_with_issuer = |issuer: &str| doctor(data.path(), &["--issuer", &format!("{issuer},audience=x")]);
    let closed = format!("http://127.0.0.1:{}", free_port());
    assert_fails(&doctor_with_issuer(&closed), "issuers", &[&closed, "refused", "--issuer", "503"]);
    let not_an_issuer = Server::start();
    assert_fails(
        &doctor_with_issuer(&not_an_issuer.url),
        "issuers",
        &["/.well-known/openid-configuration responded with 404"],
    );
    let twice = format!("{closed},audience=x;{closed},audience=y");
    assert_fails(&doctor(data.path(), &["--issuer", &twice]), "issuers", &["given twice"]);
}

#[tokio::test]
async fn doctor_shows_what_each_issuer_can_do() {
    let data = create_deployment().await;
    let closed = format!("http://127.0.0.1:{}", free_port());
    let issuers =
        format!("{closed}/a,audience=x;{closed}/b,audience=x,grants=any,require-write,max-lifetime=1d,operators");
    let (report, _) = doctor(data.path(), &["--max-lifetime", "30d", "--standalone-issuer", "--issuer", &issuers]);
    for line in [
        format!(
            "{closed}/a: tokens grant the scopes of the token (grants=token) and need no scope to create keys; keys live at \
             most 30days; administrators reach the keys of this issuer (of their own organization alone, if they have one)"
        ),
        format!(
            "{closed}/b: tokens grant any scope (grants=any) and need api-keys:write to create keys; keys live at most 1day; \
             administrators reach the keys of every issuer and organization"
        ),
        "urn:mintkey:standalone: tokens grant any scope (grants=any)".to_owned(),
    ] {
        assert!(report.contains(&line), "{line} is not in\n{report}");
    }
    assert_fails(
        &doctor(data.path(), &["--max-lifetime", "1d", "--default-lifetime", "2d"]),
        "issuer policies",
        &["--default-lifetime", "--max-lifetime"],
    );
}

#[tokio::test]
async fn doctor_fails_on_unusable_jwks_file() {
    let data = create_deployment().await;
    let file = data.path().with_file_name("jwks.json");
    let issuer = |options: &str| format!("https://id.example.com,audience=x,jwks-file={}{options}", file.display());
    let doctor_with_issuer = |options: &str| doctor(data.path(), &["--issuer", &issuer(options)]);
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "A".repeat(43) });
    fs::write(&file, json!({ "keys": [jwk] }).to_string()).unwrap();
    assert_passes(&doctor_with_issuer(""), "issuers", &["keys fetched of all that are configured: 1"]);
    let short = json!({ "kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB" });
    fs::write(&file, json!({ "keys": [jwk, short] }).to_string()).unwrap();
    let words = ["configured: 1; https://id.example.com also publishes the key with kid \"short\"", "17 bits"];
    assert_passes(&doctor_with_issuer(""), "issuers", &words);
    for (text, options, words) in [
        (json!({ "keys": [jwk] }).to_string(), ",algorithms=RS256", "`algorithms` allows RS256; add one"),
        (json!({ "keys": [short] }).to_string(), "", "none of its 1 keys can be used"),
        ("<html>".to_owned(), "", "no JSON object"),
        (json!({ "keys": [] }).to_string(), "", "publishes no keys"),
    ] {
        fs::write(&file, text).unwrap();
        let (report, passed) = doctor_with_issuer(options);
        assert!(
            !passed && report.contains("--issuer") && report.contains("jwks.json") && report.contains(words),
            "{report}"
        );
    }
}

#[tokio::test]
async fn doctor_notes_built_in_issuer_on_public_address() {
    let data = create_deployment().await;
    let mut command = mintkey();
    command.args(["doctor", "--max-connections", "100", "--listen", "0.0.0.0:0", "--data-dir"]).arg(data.path());
    assert_passes(&run_doctor(&mut command), "issuers", &["development only", "--issuer"]);
}
