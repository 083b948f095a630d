//! `mintkey keys`: an operator manages keys in the database, with and without a running server.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Server, mintkey_at, prepared, run};

fn keys_command(data: &std::path::Path, arguments: &[&str]) -> Output {
    run(mintkey_at(data).arg("keys").args(arguments).env("USER", "root"))
}

fn parse_json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn keys_cli_creates_first_key_without_server() {
    let directory = prepared();
    let made = keys_command(
        directory.path(),
        &["create", "--owner", "gateway", "--name", "first", "--scopes", "api-keys:verify", "--json"],
    );
    let secret = parse_json(&made)["key"].as_str().unwrap().to_owned();

    let server = Server::start_in(directory.path(), &[]);
    let verified = server.verify(&secret, json!({ "key": secret })).await;
    assert_eq!(verified.body["valid"], true);
    assert_eq!(verified.body["owner"]["subject"], "gateway");
    let event = &server.rows("SELECT actor_kind, actor_subject, client_address FROM audit_events").await[0];
    assert_eq!(event.try_get::<String>("", "actor_kind").unwrap(), "operator");
    assert_eq!(event.try_get::<String>("", "actor_subject").unwrap(), "root");
    assert_eq!(event.try_get::<Option<String>>("", "client_address").unwrap(), None);
}

#[test]
fn keys_cli_prints_text_or_json() {
    let directory = prepared();
    let made = keys_command(directory.path(), &["create", "--owner", "alice", "--name", "build bot"]);
    let text = String::from_utf8(made.stdout).unwrap();
    assert!(text.contains("name       build bot") && text.contains("secret     mk_"), "{text}");

    let listed = String::from_utf8(keys_command(directory.path(), &["list"]).stdout).unwrap();
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("ID") && lines[1].contains("active") && lines[1].ends_with("build bot"), "{listed}");
    assert!(!listed.contains(text.split("secret     ").nth(1).unwrap().lines().next().unwrap()));

    let one = parse_json(&keys_command(directory.path(), &["list", "--owner", "alice", "--json"]));
    assert_eq!(one["name"], "build bot");
    assert!(one.get("key").is_none());
    assert!(keys_command(directory.path(), &["list", "--owner", "bob", "--json"]).stdout.is_empty());
}

#[test]
fn keys_cli_names_and_filters_by_the_organization() {
    let directory = prepared();
    for (organization, name) in [("", "of none"), ("acme", "of acme"), ("evil", "of evil")] {
        let arguments = ["create", "--owner", "bob", "--name", name, "--organization", organization];
        let made = keys_command(directory.path(), if organization.is_empty() { &arguments[..5] } else { &arguments });
        let text = String::from_utf8(made.stdout).unwrap();
        let shown = text.lines().find_map(|line| line.strip_prefix("org        ")).unwrap_or_default();
        assert_eq!(shown, organization, "{text}");
    }
    for (arguments, expected) in [
        (&["list", "--owner", "bob"][..], &["of evil", "of acme", "of none"][..]),
        (&["list", "--owner", "bob", "--organization", "acme"], &["of acme"]),
        (&["list", "--owner", "bob", "--organization", ""], &["of none"]),
        (&["list", "--owner", "alice", "--organization", "acme"], &[]),
    ] {
        let listed = String::from_utf8(keys_command(directory.path(), arguments).stdout).unwrap();
        let rows: Vec<_> = listed.lines().skip(1).collect();
        assert_eq!(rows.len(), expected.len(), "{arguments:?}: {listed}");
        assert!(rows.iter().zip(expected).all(|(row, name)| row.ends_with(name)), "{arguments:?}: {listed}");
    }
    let listed = String::from_utf8(keys_command(directory.path(), &["list"]).stdout).unwrap();
    assert!(listed.contains("  bob of acme  ") && listed.contains("  bob                   of none"), "{listed}");
}

#[test]
fn keys_cli_shows_rotates_and_revokes_by_id() {
    let directory = prepared();
    let made = parse_json(&keys_command(directory.path(), &["create", "--owner", "alice", "--name", "n", "--json"]));
    let id = made["id"].as_str().unwrap();

    let rotated = parse_json(&keys_command(directory.path(), &["rotate", id, "--grace", "1h", "--json"]));
    assert_ne!(rotated["key"], made["key"]);
    let shown = parse_json(&keys_command(directory.path(), &["show", id, "--json"]));
    assert_eq!(shown["secrets"].as_array().unwrap().len(), 2);

    let revoked = parse_json(&keys_command(directory.path(), &["revoke", id, "--reason", "leaked", "--json"]));
    assert_eq!((&revoked["status"], &revoked["revoke_reason"]), (&json!("revoked"), &json!("leaked")));
    assert_eq!(revoked["revoked_by"], "root");
}

#[test]
fn keys_cli_reports_errors_on_stderr() {
    let directory = prepared();
    for (arguments, expected) in [
        (&["show", "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11"][..], "no such key"),
        (&["show", "5"], "invalid value '5'"),
        (&["create", "--owner", "a", "--name", " "], "at least one character"),
        (&["create", "--owner", "", "--name", "n"], "give 1 to 255 bytes"),
        (&["create", "--owner", "a", "--organization", "", "--name", "n"], "give 1 to 255 bytes"),
        (&["create", "--owner", "a", "--name", "n", "--scopes", "a\"b"], "visible ASCII"),
        (&["create", "--owner", "a", "--name", "n", "--expires-in", "soon"], "give a duration"),
        (&["rotate", "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11", "--grace", "31d"], "at most 30d"),
    ] {
        let output = keys_command(directory.path(), arguments);
        assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
