//! Trust: certificates that cannot be served with, and issuers whose tokens nobody could judge.

use super::*;
use crate::support::doctor::is_content;
use crate::support::postgres::free_port;
use crate::support::run;

/// A certificate and its key, made as if this were another time and good for so many days from then on.
fn certificate(directory: &Path, made: &str, days: &str) -> [PathBuf; 2] {
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| directory.join(name));
    let mut openssl = Command::new("faketime");
    openssl.args([made, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    openssl.args(["-subj", "/CN=mintkey", "-days", days, "-out"]).arg(&cert).arg("-keyout").arg(&key);
    let made = run(&mut openssl);
    assert!(made.status.success(), "faketime or openssl is missing: run make tools\n{made:?}");
    [cert, key]
}

fn with(data: &Path, [cert, key]: &[PathBuf; 2]) -> (String, bool) {
    doctor(data, &["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()])
}

#[tokio::test]
async fn doctor_fails_on_certificate_expired_or_soon_expiring() {
    let data = deployed().await;
    let directory = tempfile::tempdir().unwrap();
    let made = |made: &str, days: &str| with(data.path(), &certificate(directory.path(), made, days));
    is_content(&made("-1 day", "90"), "tls", &["good until"]);
    is_content(&made("-1 day", "6"), "tls", &["good until"]);
    says(&made("2020-01-01 00:00:00", "2"), "tls", &["expired at 2020-01-03", "cert.pem", "renew it"]);
    says(&made("2100-01-01 00:00:00", "2"), "tls", &["not valid before 2100-01-01", "clock"]);
    says(&made("-80 days", "90"), "tls", &["expires soon", "renew it", "why nothing has done so"]);
    says(&made("-5 days", "6"), "tls", &["expires soon"]);
}

#[tokio::test]
async fn doctor_fails_on_expired_certificate_in_chain() {
    let data = deployed().await;
    let [good, old] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [cert, key] = certificate(good.path(), "-1 day", "90");
    let [expired, _] = certificate(old.path(), "2020-01-01 00:00:00", "2");
    fs::write(&cert, [fs::read(&cert).unwrap(), fs::read(expired).unwrap()].concat()).unwrap();
    says(&with(data.path(), &[cert, key]), "tls", &["that vouches for it", "expired at 2020-01-03"]);
}

#[tokio::test]
async fn doctor_fails_on_unusable_tls_files() {
    let data = deployed().await;
    let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [cert, key] = certificate(one.path(), "-1 day", "90");
    let [_, others] = certificate(other.path(), "-1 day", "90");
    let nowhere = one.path().join("nowhere");
    let say = |cert: &PathBuf, key: &PathBuf, words: &[&str]| {
        says(&with(data.path(), &[cert.clone(), key.clone()]), "tls", words);
    };
    say(&nowhere, &key, &["--tls-cert", "nowhere", "can be read"]);
    say(&key, &key, &["--tls-cert", "certificate in PEM"]);
    say(&cert, &others, &["--tls-key", "not the key of the certificate", "belong together"]);

    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    says(&with(data.path(), &[cert, key]), "files", &["key.pem", "open to all", "644", "chmod o="]);
}

#[tokio::test]
async fn doctor_passes_beside_running_tls_server() {
    let directory = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(directory.path(), "-1 day", "90");
    let tls = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let server = Server::with(&tls);
    fs::set_permissions(&server.data, Permissions::from_mode(0o700)).unwrap();
    let listen = server.url.trim_start_matches("http://");
    let mut command = mintkey();
    command.args(["doctor", "--max-connections", "100", "--listen", listen]).args(tls);
    is_content(&outcome(command.arg("--data-dir").arg(&server.data)), "listen", &["a mintkey is running there"]);
}

#[tokio::test]
async fn doctor_fails_on_unreachable_or_invalid_issuer() {
    let data = deployed().await;
    let ask = |issuer: &str| doctor(data.path(), &["--issuer", &format!("{issuer},audience=x")]);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    says(&ask(&nobody), "issuers", &[&nobody, "refused", "--issuer", "503"]);
    let somebody = Server::start();
    says(&ask(&somebody.url), "issuers", &["/.well-known/openid-configuration answered 404"]);
    let twice = format!("{nobody},audience=x;{nobody},audience=y");
    says(&doctor(data.path(), &["--issuer", &twice]), "issuers", &["given twice"]);
}

#[tokio::test]
async fn doctor_fails_on_unusable_jwks_file() {
    let data = deployed().await;
    let file = data.path().with_file_name("jwks.json");
    let issuer = |options: &str| format!("https://id.example.com,audience=x,jwks-file={}{options}", file.display());
    let ask = |options: &str| doctor(data.path(), &["--issuer", &issuer(options)]);
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "A".repeat(43) });
    fs::write(&file, json!({ "keys": [jwk] }).to_string()).unwrap();
    is_content(&ask(""), "issuers", &["those given have keys: 1"]);
    says(&ask(",algorithms=RS256"), "issuers", &["https://id.example.com", "no public key", "`algorithms`"]);
    for (text, words) in [("<html>", "no JSON object"), (r#"{"keys":[]}"#, "no public key that signs")] {
        fs::write(&file, text).unwrap();
        let (said, content) = ask("");
        assert!(!content && said.contains("--issuer") && said.contains("jwks.json") && said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn doctor_notes_built_in_issuer_on_public_address() {
    let data = deployed().await;
    let mut command = mintkey();
    command.args(["doctor", "--max-connections", "100", "--listen", "0.0.0.0:0", "--data-dir"]).arg(data.path());
    is_content(&outcome(&mut command), "issuers", &["for trying out", "--issuer"]);
}
