//! Verifying: the programs in `packaging/clients`, which verify a key.

use std::process::Command;

use serde_json::json;

use crate::sdk::generate;
use crate::support::{Server, run, secret};
use crate::tools::{built, project, python, succeed, system};

const PROGRAMS: [&str; 3] = ["verify.py", "verify.mjs", "verify.rs"];

fn program(name: &str) -> Command {
    let mut interpreter = match name.rsplit_once('.').unwrap().1 {
        "py" => python("python"),
        "mjs" => system("node"),
        _ => return built("debug/verify"),
    };
    interpreter.arg(project().join("packaging/clients").join(name));
    interpreter
}

#[tokio::test]
async fn each_tells_good_keys_from_others_and_fails_where_nobody_knows() {
    generate("rust");
    let mut server = Server::start();
    let token = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let gateway = server.create_key_from(&token, json!({ "name": "gateway", "scopes": ["api-keys:verify"] })).await;
    let good = server.create_key_from(&token, json!({ "name": "good", "scopes": ["projects:read"] })).await;
    let short = server.create_key_from(&token, json!({ "name": "short" })).await;
    let ask = |name, credential: &str, key: &str| {
        let mut command = program(name);
        command.env("MINTKEY_URL", &server.url).env("GATEWAY_KEY", credential).arg(key);
        command
    };
    let mut without_an_answer = Vec::new();
    for name in PROGRAMS {
        for (key, code) in [(secret(&good), "VALID"), (secret(&short), "INSUFFICIENT_SCOPE"), ("mk_x", "NOT_FOUND")] {
            assert_eq!(succeed(&mut ask(name, secret(&gateway), key)).trim(), code, "{name}");
        }
        let unknown = run(&mut ask(name, "not-a-token", secret(&good)));
        assert!(!unknown.status.success() && unknown.stdout.is_empty(), "{name}: {unknown:?}");
        without_an_answer.push(ask(name, secret(&gateway), secret(&good)));
    }
    server.kill();
    for command in &mut without_an_answer {
        let output = run(command);
        assert!(!output.status.success() && output.stdout.is_empty(), "{command:?}: {output:?}");
    }
}
