//! Schemathesis: the served document against the service, in hundreds of requests.

use crate::support::Server;
use crate::tools::{leftovers, python, succeed};

#[tokio::test]
async fn the_service_keeps_every_promise_of_its_document() {
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    succeed(
        python("schemathesis")
            .args(["run", &format!("{}/openapi.json", server.url)])
            .args(["--header", &format!("Authorization: Bearer {}", server.token("alice"))])
            .args(["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--mode", "all"])
            .args(["--max-examples", "100", "--generation-deterministic"])
            .args(["--request-timeout", "10", "--continue-on-failure", "--no-color"])
            .args(["--report", "junit", "--report-junit-path"])
            .arg(leftovers().join("schemathesis.xml"))
            .current_dir(directory.path()),
    );
    assert!(server.count("api_keys").await > 0, "no request got past its credentials");
}
