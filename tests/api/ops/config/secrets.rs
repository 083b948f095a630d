//! Secret settings: how the master secret and the signing key are given, stored and rotated.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{assert_contains, error_of, serve_error};
use crate::support::{Server, mintkey, mintkey_at, run};

const MASTER: &str = "0123456789abcdef0123456789abcdef";
const WRITE: &str = "api-keys:write";

#[test]
fn config_help_hides_secrets_in_variables() {
    let canary = "canary-0123456789abcdef0123456789abcdef";
    for command in ["serve", "token", "migrate"] {
        let mut help = mintkey();
        for variable in ["MINTKEY_MASTER_SECRET", "MINTKEY_SIGNING_KEY", "MINTKEY_DATABASE_URL"] {
            help.env(variable, canary);
        }
        let output = run(help.args([command, "--help"]));
        assert!(output.status.success() && !String::from_utf8_lossy(&output.stdout).contains(canary), "{command}");
    }
}

#[test]
fn config_secret_given_twice_is_refused() {
    for (value, file) in [
        ("--master-secret", "--master-secret-file"),
        ("--signing-key", "--signing-key-file"),
        ("--database-url", "--database-url-file"),
    ] {
        let error = serve_error(&[&format!("{value}=canary-{MASTER}"), &format!("{file}=/dev/null")], &[]);
        assert_contains(&error, &[value, file]);
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn config_signing_key_of_other_type_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rsa.pem");
    fs::write(&path, "-----BEGIN PRIVATE KEY-----\nMIIBVAIBADANBgkqhkiG9w0BAQEFAASCAT4=\n-----END PRIVATE KEY-----\n")
        .unwrap();
    let error = serve_error(&["--signing-key-file", path.to_str().unwrap()], &[]);
    assert_contains(&error, &["--signing-key-file", "MINTKEY_SIGNING_KEY_FILE", "openssl genpkey -algorithm ed25519"]);
}

#[test]
fn config_generated_files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("new/data");
    let server = Server::start_in(&data, &[]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&server.data), 0o700);
    for secret in ["master.secret", "signing.key"] {
        assert_eq!(mode(&server.data.join(secret)), 0o600, "{secret}");
    }
}

#[tokio::test]
async fn config_secrets_can_be_values_files_or_variables() {
    let pem = fs::read_to_string(Server::start().data.join("signing.key")).unwrap();
    for how in ["flags", "files", "variables", "variables of files"] {
        let directory = tempfile::tempdir().unwrap();
        let (data, other) = (directory.path().join("data"), directory.path().join("other.db"));
        let mut settings = Vec::new();
        for (name, value) in
            [("master-secret", MASTER), ("signing-key", &pem), ("database-url", &format!("sqlite:{}", other.display()))]
        {
            let file = directory.path().join(name);
            fs::write(&file, format!("{value}\n")).unwrap();
            let (name, value) = if how.ends_with("files") {
                (format!("{name}-file"), file.display().to_string())
            } else {
                (name.to_owned(), value.to_owned())
            };
            settings.push((name, value));
        }
        let given = |command: &mut Command, names: &[&str]| {
            for (name, value) in settings.iter().filter(|(name, _)| names.iter().any(|wanted| name.starts_with(wanted)))
            {
                if how.starts_with("variables") {
                    command.env(format!("MINTKEY_{}", name.replace('-', "_").to_uppercase()), value);
                } else {
                    command.arg(format!("--{name}={value}"));
                }
            }
        };
        let mut serve = mintkey();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
        given(&mut serve, &["master", "signing", "database"]);
        let server = Server::spawn(&mut serve, &data);
        let mut token = mintkey();
        token.args(["token", "--subject", "alice", "--data-dir"]).arg(&data);
        given(&mut token, &["signing"]);
        let token = String::from_utf8(run(&mut token).stdout).unwrap();
        assert_eq!(server.create(token.trim(), json!({ "name": "x" })).await.status, 201, "{how}");
        assert!(other.exists(), "{how}");
        for made in ["master.secret", "signing.key", "mintkey.db"] {
            assert!(!data.join(made).exists(), "{how}: {made}");
        }
    }
}

#[tokio::test]
async fn config_key_prefix_applies_to_new_keys_only() {
    let directory = tempfile::tempdir().unwrap();
    let mut old = Server::start_in(directory.path(), &[]);
    let token = old.token_with("alice", &["--scopes", WRITE]);
    let parent = old.create_key_from(&token, json!({ "name": "old", "scopes": [WRITE] })).await;
    assert!(parent["key"].as_str().unwrap().starts_with("mk_"));
    old.terminate();

    let new = Server::start_in(directory.path(), &["--key-prefix", "acme_live"]);
    let child = new.create_key_from(parent["key"].as_str().unwrap(), json!({ "name": "new", "scopes": [WRITE] })).await;
    let secret = child["key"].as_str().unwrap();
    assert!(secret.starts_with("acme_live_") && secret.len() == "acme_live_".len() + 49, "{secret}");
    assert_eq!(child["start"], secret[.."acme_live_".len() + 4]);
    new.create_key_from(secret, json!({ "name": "newer" })).await;
}

#[tokio::test]
async fn config_wrong_master_secret_is_refused_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory.path(), &[]);
    server.create_key(&server.token("alice"), &[]).await;
    server.terminate();

    let wrong = format!("--master-secret=wrong-{MASTER}");
    let hints = ["master secret", "MINTKEY_MASTER_SECRET_FILE", "master.secret"];
    for (argument, words) in [(Some(&wrong), &hints[..]), (None, &hints[..1])] {
        if argument.is_none() {
            fs::remove_file(directory.path().join("master.secret")).unwrap();
        }
        let mut command = mintkey_at(directory.path());
        let error = error_of(command.args(["serve", "--listen", "127.0.0.1:0"]).args(argument));
        assert_contains(&error, words);
        assert!(!error.contains(MASTER), "{error}");
    }
}

#[tokio::test]
async fn config_older_master_secret_keeps_its_keys_valid() {
    let directory = tempfile::tempdir().unwrap();
    let mut old = Server::start_in(directory.path(), &["--master-secret", MASTER]);
    let token = old.token_with("alice", &["--scopes", WRITE]);
    let parent = old.create_key_from(&token, json!({ "name": "old", "scopes": [WRITE] })).await;
    let unused = old.create_key_from(&token, json!({ "name": "unused", "scopes": [WRITE] })).await;
    old.terminate();

    let newer = "fedcba9876543210fedcba9876543210";
    let mut both = Server::start_in(directory.path(), &["--master-secret", &format!("{newer}\n\n  {MASTER}\n")]);
    let child =
        both.create_key_from(parent["key"].as_str().unwrap(), json!({ "name": "new", "scopes": [WRITE] })).await;
    let peppers = both.rows("SELECT DISTINCT pepper_id FROM secrets").await;
    assert_eq!(peppers.len(), 2, "only the old key that was used is rehashed");
    both.terminate();

    let new = Server::start_in(directory.path(), &["--master-secret", newer, "--allow-missing-master-secret"]);
    new.create_key_from(child["key"].as_str().unwrap(), json!({ "name": "newer" })).await;
    new.create_key_from(parent["key"].as_str().unwrap(), json!({ "name": "newer" })).await;
    new.create(unused["key"].as_str().unwrap(), json!({ "name": "x" })).await.assert_problem(401);
}
