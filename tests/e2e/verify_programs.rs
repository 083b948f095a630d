//! The programs in `packaging/clients`, which verify a key.

use std::process::Command;

use serde_json::json;

use crate::sdk::generate;
use crate::support::{Server, run, secret, succeed};
use crate::tools::{built, project, python, system};

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
async fn verify_programs_print_code_and_fail_closed() {
    generate("rust");
    let mut server = Server::start();
    let token = server.token_with("gateway", &["--scopes", "api-keys:verify"]);
    let gateway = server.create_key_from(&token, json!({ "name": "gateway", "scopes": ["api-keys:verify"] })).await;
    let valid = server.create_key_from(&token, json!({ "name": "good", "scopes": ["projects:read"] })).await;
    let without_scope = server.create_key_from(&token, json!({ "name": "short" })).await;
    let verify = |name, credential: &str, key: &str| {
        let mut command = program(name);
        command.env("MINTKEY_URL", &server.url).env("GATEWAY_KEY", credential).arg(key);
        command
    };
    let mut commands_during_outage = Vec::new();
    for name in PROGRAMS {
        for (key, code) in
            [(secret(&valid), "VALID"), (secret(&without_scope), "INSUFFICIENT_SCOPE"), ("mk_x", "NOT_FOUND")]
        {
            assert_eq!(succeed(&mut verify(name, secret(&gateway), key)).trim(), code, "{name}");
        }
        let rejected = run(&mut verify(name, "not-a-token", secret(&valid)));
        assert!(!rejected.status.success() && rejected.stdout.is_empty(), "{name}: {rejected:?}");
        commands_during_outage.push(verify(name, secret(&gateway), secret(&valid)));
    }
    server.kill();
    for command in &mut commands_during_outage {
        let output = run(command);
        assert!(!output.status.success() && output.stdout.is_empty(), "{command:?}: {output:?}");
    }
}
