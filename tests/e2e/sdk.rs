//! SDK: clients generated from the document, each through the whole life of a key.

use crate::support::Server;
use crate::tools::{project, python, succeed, system};

/// A server, generated clients for it in this language, and the arguments of the program that uses them.
fn generated(language: &str) -> (Server, [String; 2]) {
    succeed(system("sh").arg("tests/e2e/clients/generate.sh").arg(language).current_dir(project()));
    let server = Server::start();
    let arguments = [format!("{}/api", server.url), server.token_with("alice", &["--scopes", "api-keys:verify"])];
    (server, arguments)
}

#[test]
fn the_typescript_client_leads_a_key_through_its_life() {
    let (_server, arguments) = generated("typescript");
    succeed(system("node").arg(project().join("target/sdk/typescript/lifecycle.mjs")).args(arguments));
}

#[test]
fn the_python_client_leads_a_key_through_its_life() {
    let (_server, arguments) = generated("python");
    succeed(python("python").arg(project().join("target/sdk/python/lifecycle.py")).args(arguments));
}

#[test]
fn the_go_client_leads_a_key_through_its_life() {
    let (_server, arguments) = generated("go");
    succeed(system(&project().join("target/sdk/go/lifecycle").to_string_lossy()).args(arguments));
}

#[test]
fn the_rust_client_leads_a_key_through_its_life() {
    let (_server, arguments) = generated("rust");
    succeed(system(&project().join("target/sdk/rust/lifecycle").to_string_lossy()).args(arguments));
}
