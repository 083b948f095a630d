//! SDK: clients generated from the document, each through the life of a key.

use std::process::Command;

use crate::support::{Server, succeed};
use crate::tools::{built, project, python, system};

pub fn generate(language: &str) {
    // The first run compiles the dependencies of the client in Rust.
    let limit = ["--kill-after=5", "600"];
    let script = project().join("tests/e2e/clients/generate.sh");
    succeed(Command::new("timeout").args(limit).arg("sh").arg(script).arg(language));
}

/// Generates a client and starts a server. Returns the server and the arguments for the program that uses the client.
fn generated(language: &str) -> (Server, [String; 2]) {
    generate(language);
    let server = Server::start();
    let arguments = [format!("{}/api", server.url), server.token_with("alice", &["--scopes", "api-keys:verify"])];
    (server, arguments)
}

#[test]
fn typescript_client_covers_life_of_a_key() {
    let (_server, arguments) = generated("typescript");
    succeed(system("node").arg(project().join("target/sdk/typescript/lifecycle.mjs")).args(arguments));
}

#[test]
fn heyapi_client_covers_life_of_a_key() {
    let (_server, arguments) = generated("heyapi");
    succeed(system("node").arg(project().join("target/sdk/heyapi/lifecycle.js")).args(arguments));
}

#[test]
fn orval_client_covers_life_of_a_key() {
    let (_server, arguments) = generated("orval");
    succeed(system("node").arg(project().join("target/sdk/orval/lifecycle.js")).args(arguments));
}

#[test]
fn python_client_covers_life_of_a_key() {
    let (_server, arguments) = generated("python");
    succeed(python("python").arg(project().join("target/sdk/python/lifecycle.py")).args(arguments));
}

#[test]
fn go_client_covers_life_of_a_key() {
    let (_server, arguments) = generated("go");
    succeed(built("sdk/go/lifecycle").args(arguments));
}

#[test]
fn java_client_covers_life_of_a_key() {
    let (_server, arguments) = generated("java");
    let mut java = system("java");
    // Before Java 18 the client decodes responses by the locale.
    java.arg("-Dfile.encoding=UTF-8").args(["-cp", "classes:libraries/*", "Lifecycle"]).args(arguments);
    succeed(java.current_dir(project().join("target/sdk/java")));
}

#[test]
fn php_client_covers_life_of_a_key() {
    let (_server, arguments) = generated("php");
    succeed(system("php").arg(project().join("target/sdk/php/lifecycle.php")).args(arguments));
}

#[test]
fn rust_client_covers_life_of_a_key() {
    let (_server, arguments) = generated("rust");
    succeed(built("debug/lifecycle").args(arguments));
}
