//! The two example calls of the reference contract, unchanged, and a client generated from its OpenAPI document.

use serde_json::Value;

use crate::support::{KEYS, Server, succeed};
use crate::tools::{project, python, script, system};

fn assert_new_key(response: &str) {
    let body: Value = serde_json::from_str(response).unwrap();
    assert!(uuid::Uuid::parse_str(body["id"].as_str().unwrap()).is_ok(), "{body}");
    assert!(body["key"].as_str().unwrap().starts_with("mk_"), "{body}");
    assert_eq!(body["name"], "example");
    assert!(chrono::DateTime::parse_from_rfc3339(body["created_at"].as_str().unwrap()).is_ok(), "{body}");
}

#[test]
fn curl_call_creates_key() {
    let server = Server::start();
    let response = succeed(
        system("curl")
            .args(["--silent", "--fail-with-body"])
            .args(["--request", "POST", "--url", &format!("{}{KEYS}", server.url)])
            .args(["--header", &format!("Authorization: Bearer {}", server.token("alice"))])
            .args(["--header", "Content-Type: application/json", "--data", r#"{ "name": "example" }"#]),
    );
    assert_new_key(&response);
}

#[test]
fn javascript_call_creates_key() {
    let server = Server::start();
    let response = succeed(script("contract_fetch.mjs").args([&server.url, &server.token("alice")]));
    assert_new_key(&response);
}

#[test]
fn generated_python_client_creates_key_and_reads_problems() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yaml");
    std::fs::write(&config, "package_name_override: contract_client\npost_hooks: []\n").unwrap();
    succeed(
        python("openapi-python-client")
            .args(["generate", "--meta", "none", "--fail-on-warning", "--path"])
            .arg(project().join("tests/contract/create-api-key.openapi.yaml"))
            .arg("--config")
            .arg(&config)
            .current_dir(directory.path()),
    );
    let response = succeed(
        python("python")
            .arg(project().join("tests/e2e/contract_generated.py"))
            .args([format!("{}/api", server.url), server.token("alice")])
            .env("PYTHONPATH", directory.path()),
    );
    assert_new_key(&response);
}
