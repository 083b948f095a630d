//! Schemathesis: thousands of requests generated from the served document. `FUZZ_EXAMPLES` sets a larger number, with
//! random ones.

use std::env;

use crate::support::{Server, succeed};
use crate::tools::{DEFAULT_TIMEOUT, artifacts, project, python_for};

#[tokio::test]
async fn service_conforms_to_its_document() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let wanted = env::var("FUZZ_EXAMPLES").ok();
    let (time, choice) = match &wanted {
        Some(examples) => ("4h", vec!["--max-examples", examples]),
        None => (DEFAULT_TIMEOUT, vec!["--max-examples", "100", "--generation-deterministic"]),
    };
    succeed(
        python_for(time, "schemathesis")
            .arg("--config-file")
            .arg(project().join("tests/e2e/schemathesis.toml"))
            .arg("run")
            .args(choice)
            .arg(format!("{}/openapi.json", server.url))
            .args(["--header", &format!("Authorization: Bearer {}", server.token("alice"))])
            .args(["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--mode", "all"])
            .args(["--request-timeout", "10", "--continue-on-failure", "--no-color"])
            .args(["--report", "junit", "--report-junit-path"])
            .arg(artifacts().join("schemathesis.xml"))
            .env("SCHEMATHESIS_HOOKS", project().join("tests/e2e/schemathesis_hooks.py"))
            .current_dir(directory.path()),
    );
    assert!(server.count("api_keys").await > 0, "no request got past its credentials");
}
