//! The rules of `packaging/secret-scanning`, run by scanners over files with keys of a server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, run, secret};
use crate::tools::{project, python, system};

fn rules(name: &str) -> PathBuf {
    project().join("packaging/secret-scanning").join(name)
}

/// Six leaks of keys with two prefixes, one file each, and two files without keys.
async fn leaks() -> (TempDir, BTreeSet<String>) {
    let directory = tempfile::tempdir().unwrap();
    let mut leaks = BTreeSet::new();
    let write = |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
    for prefix in ["mk", "acme_live"] {
        let server = Server::start_with(&["--key-prefix", prefix]);
        let key = server.create_key(&server.token("alice"), &[]).await;
        let key = secret(&key);
        for (name, text) in [
            (".env", format!("API_KEY={key}\n")),
            ("config.json", format!(r#"{{"key":"{key}"}}"#)),
            ("config.yaml", format!("client:\n  key: {key}\n")),
            ("client.py", format!("client = Client(\"{key}\")\n")),
            ("call.sh", format!("curl -H 'Authorization: Bearer {key}' https://api.example.com/\n")),
            ("address.txt", format!("https://api.example.com/orders?key={key}&page=1\n")),
        ] {
            // The ending decides how some scanners read a file.
            let name = if name == ".env" { format!(".env.{prefix}") } else { format!("{prefix}-{name}") };
            write(&name, text);
            leaks.insert(name);
        }
        let near_misses = [
            "6f1d3c1e-2a52-4b0e-9d2c-8a1f5e7b9c04",
            "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9",
            "kY2uIVt0ixZVnVcmIv8h4S1TOYAvY2MZ0y3Wl0i6WoY4bqg9cQ==",
            "4f2aa9d1c0e3b5f6a7d8c9e0f1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0",
            &key[..key.len() - 1],
            &format!("{key}0"),
            &format!("{}...", &key[..prefix.len() + 5]),
            &key.replacen('_', "-", 2),
            &key[prefix.len() + 1..],
        ];
        write(&format!("{prefix}-clean.txt"), near_misses.join("\n"));
        let other = if key.ends_with('0') { '1' } else { '0' };
        write(&format!("{prefix}-checksum.txt"), format!("{}{other}\n", &key[..key.len() - 1]));
    }
    (directory, leaks)
}

/// Runs a scanner in the directory and returns what it printed.
fn scan(command: &mut Command, directory: &Path) -> String {
    let output = run(command.current_dir(directory));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.stdout.is_empty(), "{command:?} printed nothing: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn name(path: &Value) -> String {
    Path::new(path.as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn scanners_find_every_leak_and_nothing_else() {
    let (directory, leaks) = leaks().await;
    let directory = directory.path();
    // Scanners that cannot check the checksum find these, too.
    let by_shape: BTreeSet<_> =
        leaks.iter().cloned().chain(["mk", "acme_live"].map(|prefix| format!("{prefix}-checksum.txt"))).collect();
    let files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();

    let mut detect_secrets = python("detect-secrets");
    let filter = "detect_secrets.filters.heuristic.is_indirect_reference";
    detect_secrets.args(["scan", "--all-files", "--disable-filter", filter, "--plugin"]);
    let report: Value =
        serde_json::from_str(&scan(detect_secrets.arg(rules("detect_secrets_mintkey.py")).arg("."), directory))
            .unwrap();
    let is_key = |found: &Value| found["type"] == json!("API key of mintkey");
    let results = report["results"].as_object().unwrap().iter();
    let found: BTreeSet<_> = results
        .filter(|(_, found)| found.as_array().unwrap().iter().any(is_key))
        .map(|(path, _)| name(&path.as_str().into()))
        .collect();
    assert_eq!(found, leaks, "detect-secrets");

    // It loads its rules from the `node_modules` of its working directory, and reads files below that alone.
    std::os::unix::fs::symlink(project().join("tests/e2e/node_modules"), directory.join("node_modules")).unwrap();
    let mut secretlint = crate::tools::npm("secretlint");
    secretlint.args(["--format", "json", "--secretlintrc"]).arg(rules("secretlintrc.json"));
    secretlint.args(files.iter().map(|file| file.file_name().unwrap()));
    let report: Value = serde_json::from_str(&scan(&mut secretlint, directory)).unwrap();
    let has_messages = |file: &&Value| !file["messages"].as_array().unwrap().is_empty();
    let found: BTreeSet<_> =
        report.as_array().unwrap().iter().filter(has_messages).map(|file| name(&file["filePath"])).collect();
    assert_eq!(found, by_shape, "secretlint");

    // No registry has gitleaks and TruffleHog 3. They are written in Go and use its regular expressions.
    for rule in ["gitleaks.toml", "trufflehog.yaml"] {
        let mut go = system("go");
        go.arg("run").arg(project().join("tests/e2e/secret_scan.go")).arg(rules(rule)).args(&files);
        let printed = scan(&mut go, directory);
        let found: BTreeSet<_> = printed.lines().map(|path| name(&path.into())).collect();
        assert_eq!(found, by_shape, "{rule}");
    }
}
