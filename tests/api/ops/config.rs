//! Configuration: every setting is a flag and an environment variable, and is validated at startup.

mod encoding;
mod secrets;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{Server, mintkey, mintkey_at, run};

/// Runs `serve`, which must fail, and returns its error message.
pub fn serve_error(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut command = mintkey();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory.path()).args(arguments);
    error_of(command.envs(variables.iter().copied()))
}

pub fn error_of(command: &mut Command) -> String {
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while process.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            process.kill().unwrap();
            panic!("{command:?} was not refused");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = process.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{error}");
    let errors = error.lines().filter(|line| line.starts_with("error:") || line.starts_with("mintkey:")).count();
    assert_eq!(errors, 1, "one error, not: {error}");
    assert!(!error.contains("panicked"), "{error}");
    error
}

pub fn assert_contains(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}

#[test]
fn config_help_shows_variable_of_every_flag() {
    let help = String::from_utf8(run(mintkey().args(["serve", "--help"])).stdout).unwrap();
    let flags: BTreeSet<_> = help
        .lines()
        .filter_map(|line| line.trim_start().trim_start_matches("-h, ").strip_prefix("--"))
        .map(|rest| rest.split([' ', '=']).next().unwrap().to_owned())
        .filter(|flag| flag != "help")
        .collect();
    assert!(flags.len() >= 12, "{flags:?}");
    for flag in &flags {
        let variable = format!("[env: MINTKEY_{}", flag.replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "no {variable} in:\n{help}");
    }
    for command in ["serve", "migrate", "token", "openapi"] {
        let output = run(mintkey().args([command, "--help"]));
        assert!(output.status.success() && !output.stdout.is_empty(), "{command}");
    }
}

#[test]
fn config_invalid_value_is_refused_with_its_name() {
    for (flag, bad, words) in [
        ("listen", "8080", ["ADDRESS:PORT"].as_slice()),
        ("listen", "localhost", &["ADDRESS:PORT"]),
        ("issuer", "id.example.com,audience=a", &["https://id.example.com"]),
        ("issuer", "http://id.example.com,audience=a", &["https://", "allow-http"]),
        ("issuer", "https://id.example.com/?a=b,audience=a", &["query"]),
        ("issuer", "https://id.example.com", &["audience=NAME"]),
        ("issuer", "https://id.example.com,audience=a,audience=a", &["each value once"]),
        ("issuer", "https://id.example.com,audience=", &["audience with a value"]),
        ("issuer", "https://id.example.com,audience=a,scopes=a,scopes=b", &["scopes once"]),
        ("issuer", "https://id.example.com,audience=a,jwks-uri=http://b/jwks", &["jwks-uri", "allow-http"]),
        ("issuer", "https://id.example.com,audience=a,algorithms=HS256", &["=HS256", "RS256", "ES512", "EdDSA"]),
        ("issuer", "https://id.example.com,audience=a,algorithms=none", &["RS256", "EdDSA"]),
        ("issuer", "https://id.example.com,audience=a,typ=any", &["typ=any", "strict, compatible"]),
        (
            "issuer",
            "https://id.example.com,audience=a,audiences=b",
            &["`audiences=b`", "audience, algorithms", "client-query"],
        ),
        ("issuer", "https://id.example.com,audience=a,grants=all", &["grants=all", "any, token, allowed-scopes"]),
        ("issuer", "https://id.example.com,audience=a,grants", &["grants once, with a value"]),
        ("issuer", "https://id.example.com,audience=a,grants=allowed-scopes", &["--allowed-scopes", "grants=token"]),
        ("issuer", "https://id.example.com,audience=a,max-lifetime=30", &["max-lifetime=30", "30d"]),
        ("issuer", "https://id.example.com,audience=a,operators=yes", &["operators without a value"]),
        ("issuer", "https://id.example.com,audience=a,require=", &["require once, with a value"]),
        ("issuer", "https://id.example.com,audience=a,jwks-file=/nonexistent", &["/nonexistent", "JWKS"]),
        ("issuer", "https://id.example.com,audience=a,jwks-file=/dev/null", &["/dev/null", "JWKS"]),
        ("issuer", "https://id.example.com,audience=a,client-scopes=openid", &["client-id"]),
        ("issuer", "https://id.example.com,audience=a;https://id.example.com,audience=b", &["twice"]),
        (
            "issuer",
            "https://a.example.com,audience=a,client-id=a;https://b.example.com,audience=b,client-id=b",
            &["client-id", "keep one"],
        ),
        ("key-prefix", "Acme", &["lowercase"]),
        ("key-prefix", "a__b", &["single underscores"]),
        ("key-prefix", "_a", &["underscores"]),
        ("key-prefix", "", &[]),
        ("key-prefix", "abcdefghijklmnopqrstu", &["20"]),
        ("allowed-scopes", "projects:read \"quoted\"", &["visible ASCII"]),
        ("max-lifetime", "0s", &["30d"]),
        ("default-lifetime", "forever", &["30d"]),
        ("cors-origin", "https://app.example.com/", &["https://app.example.com; give that"]),
        ("cors-origin", "https://App.example.com:443", &["https://app.example.com; give that"]),
        ("cors-origin", "app.example.com", &["https://app.example.com"]),
        ("cors-origin", "*", &["no wildcard", "each origin"]),
        ("cors-origin", "null", &["sandboxed frame", "web server"]),
        ("cors-origin", "https://a.example https://b.example", &["repeat --cors-origin", "`;`"]),
        ("cors-origin", "https://a.example,https://b.example", &["repeat --cors-origin", "`;`"]),
        ("trusted-proxy", "0.0.0.0/0", &["every client"]),
        ("trusted-proxy", "10.1.2.3/8", &["write it as 10.0.0.0/8"]),
        ("trusted-proxy", "localhost", &["such as 10.0.0.7", "2001:db8::/32"]),
        ("trusted-proxy", "10.0.0.0/8;proxy", &["such as"]),
        ("forwarded-header", "x-real-ip", &["x-forwarded-for or forwarded"]),
        ("max-connections", "0", &["1"]),
        ("max-connections-per-peer", "0", &["1"]),
        ("request-memory", "64MB", &["MiB", "such as"]),
        ("request-memory", "1000KiB", &["1MiB"]),
        ("head-timeout", "0s", &["30s"]),
        ("idle-timeout", "long", &["30s"]),
        ("request-timeout", "soon", &["30s"]),
        ("request-timeout", "0s", &["30s"]),
        ("shutdown-timeout", "-1s", &["30s"]),
        ("log-format", "xml", &["text", "json"]),
        ("log-level", "loud", &["info", "debug"]),
        ("database-url", "mysql://mint:canary@db/mint", &["sqlite:", "postgres://"]),
        ("database-url", "postgres://mint:canary@db:port/mint", &["postgres://USER"]),
        ("database-connections", "1", &["2"]),
        ("database-url", "mintkey.db", &["sqlite:"]),
        ("master-secret", "short-canary", &["32", "openssl rand"]),
        ("master-secret", "", &["32"]),
        ("master-secret", "0123456789abcdef0123456789abcdef\nshort", &["32"]),
        ("signing-key", "garbage-canary", &["Ed25519", "openssl genpkey"]),
        ("master-secret-file", "/nonexistent/canary-file", &["/nonexistent/canary-file", "can be read"]),
        ("signing-key-file", "/nonexistent", &["/nonexistent", "can be read"]),
        ("database-url-file", "/nonexistent", &["/nonexistent", "can be read"]),
    ] {
        let (flag, variable) = (format!("--{flag}"), format!("MINTKEY_{}", flag.replace('-', "_").to_uppercase()));
        let by_flag = error_for_flag(&flag, bad);
        let by_variable = error_for_variable(&variable, bad);
        for error in [by_flag, by_variable] {
            assert!(error.contains(&flag) || error.contains(&variable), "{flag} is not named: {error}");
            assert_contains(&error, words);
            assert!(!bad.contains("canary") || bad.starts_with('/') || !error.contains("canary"), "{error}");
        }
    }
}

fn error_for_flag(flag: &str, value: &str) -> String {
    let joined = format!("{flag}={value}");
    if flag == "--listen" {
        return error_of(mintkey().args(["serve", &joined]));
    }
    serve_error(&[&joined], &[])
}

fn error_for_variable(variable: &str, value: &str) -> String {
    if variable == "MINTKEY_LISTEN" {
        return error_of(mintkey().arg("serve").env(variable, value));
    }
    serve_error(&[], &[(variable, value)])
}

#[test]
fn config_port_in_use_is_refused_with_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = mintkey();
    let error = error_of(command.args(["serve", "--listen", &address, "--data-dir"]).arg(directory.path()));
    assert_contains(&error, &["--listen", "MINTKEY_LISTEN", &address, "free"]);
}

#[test]
fn config_unusable_data_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below"), "/proc/data".into()] {
        for subcommand in ["serve", "migrate", "token"] {
            let mut command = mintkey();
            command.arg(subcommand).arg("--data-dir").arg(&path);
            match subcommand {
                "serve" => drop(command.args(["--listen", "127.0.0.1:0"])),
                "token" => drop(command.args(["--subject", "alice"])),
                _ => {}
            }
            let error = error_of(&mut command);
            assert_contains(&error, &["--data-dir", "MINTKEY_DATA_DIR", path.to_str().unwrap(), "give a directory"]);
        }
    }
}

#[tokio::test]
async fn config_of_serve_can_all_be_variables() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut command = mintkey();
    command.arg("serve").env("MINTKEY_DATA_DIR", &data).envs([
        ("MINTKEY_LISTEN", "127.0.0.1:0"),
        ("MINTKEY_KEY_PREFIX", "acme_live"),
        ("MINTKEY_ALLOWED_SCOPES", "projects:read"),
        ("MINTKEY_CORS_ORIGIN", "https://a.example;https://b.example"),
        ("MINTKEY_TRUSTED_PROXY", "10.0.0.0/8;::1"),
        ("MINTKEY_FORWARDED_HEADER", "forwarded"),
        ("MINTKEY_MAX_CONNECTIONS", "10"),
        ("MINTKEY_MAX_CONNECTIONS_PER_PEER", "9"),
        ("MINTKEY_REQUEST_MEMORY", "1MiB"),
        ("MINTKEY_HEAD_TIMEOUT", "5s"),
        ("MINTKEY_IDLE_TIMEOUT", "5m"),
        ("MINTKEY_REQUEST_TIMEOUT", "5s"),
        ("MINTKEY_SHUTDOWN_TIMEOUT", "1s"),
        ("MINTKEY_LOG_FORMAT", "json"),
        ("MINTKEY_LOG_LEVEL", "debug"),
        ("MINTKEY_WELCOME", "false"),
        ("MINTKEY_ISSUER", "https://127.0.0.1:9,audience=a;https://127.0.0.1:9/b,audience=b"),
        ("MINTKEY_STANDALONE_ISSUER", "true"),
    ]);
    let server = Server::spawn(&mut command, &data);
    let token = server.token("alice");
    let key = server.create_key(&token, &["projects:read"]).await;
    assert!(key["key"].as_str().unwrap().starts_with("acme_live_"), "{key}");
    server.create(&token, json!({ "name": "x", "scopes": ["other"] })).await.assert_problem(422);
    server.wait_for_log(&["\"status\":201"]);
    for origin in ["https://a.example", "https://b.example"] {
        let response = server.request(Method::GET, "/openapi.json", "").header("origin", origin).send().await.unwrap();
        assert_eq!(response.headers()["access-control-allow-origin"], origin);
    }
}

#[tokio::test]
async fn migrate_creates_schema_and_can_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for _ in 0..2 {
        let output = run(mintkey_at(&data).arg("migrate"));
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
    let server = Server::start_in(&data, &[]);
    assert_eq!(server.counts().await, [0, 0, 0]);
}

#[test]
fn token_command_prints_only_the_token() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    drop(Server::start_in(&data, &[]));
    let output = run(mintkey().args(["token", "--subject", "alice", "--data-dir"]).arg(&data));
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.ends_with('\n') && text.trim().split('.').count() == 3, "{text}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn token_command_refuses_when_built_in_issuer_is_off() {
    let directory = tempfile::tempdir().unwrap();
    drop(Server::start_in(directory.path(), &[]));
    let token = || {
        let mut command = mintkey();
        command.args(["token", "--subject", "alice", "--data-dir"]).arg(directory.path());
        command.env("MINTKEY_ISSUER", "https://id.example.com,audience=a");
        command
    };
    assert_contains(&error_of(&mut token()), &["--issuer", "--standalone-issuer"]);
    assert!(run(token().arg("--standalone-issuer")).status.success());
}

#[test]
fn token_command_refuses_invalid_claims() {
    let directory = tempfile::tempdir().unwrap();
    drop(Server::start_in(directory.path(), &[]));
    let long = "x".repeat(256);
    for (flag, value) in [
        ("--ttl", "soon"),
        ("--ttl", "0s"),
        ("--subject", ""),
        ("--subject", "a\nb"),
        ("--subject", &long),
        ("--organization", ""),
        ("--organization", &long),
    ] {
        let mut command = mintkey();
        command.args(["token", "--data-dir"]).arg(directory.path()).args([flag, value]);
        if flag != "--subject" {
            command.args(["--subject", "alice"]);
        }
        assert_contains(&error_of(&mut command), &[flag]);
    }
}

mod sqlite {
    use super::*;

    #[tokio::test]
    async fn config_uses_wal_and_a_recent_sqlite() {
        let server = Server::start();
        let row = &server.rows("SELECT sqlite_version() AS version").await[0];
        let version: String = row.try_get("", "version").unwrap();
        let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        assert!(parts >= vec![3, 51, 3], "{version}");
        let mode = server.rows("PRAGMA journal_mode").await;
        assert_eq!(mode[0].try_get_by_index::<String>(0).unwrap(), "wal");
    }
}
