//! Closed pipes: the reader of a command's standard output has left, as `head` does.

use std::process::{Command, Output, Stdio};

use crate::support::{mintkey_at, prepared, run, succeed};

/// Runs the command with a standard output whose reader has left.
fn run_without_reader(command: &mut Command) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn command_whose_reader_has_left_ends_quietly() {
    let directory = prepared();
    let create = ["keys", "create", "--owner", "alice", "--name", "n"];
    let created = succeed(mintkey_at(directory.path()).args(create));
    let id = created.lines().next().unwrap().split_whitespace().nth(1).unwrap();
    let log = directory.path().join("revocations.jsonl");
    std::fs::write(&log, "").unwrap();
    for arguments in [
        &["openapi"][..],
        &["--help"],
        &["serve", "--help"],
        &["--version"],
        &["doctor", "--listen", "127.0.0.1:0"],
        &create,
        &["keys", "list"],
        &["keys", "list", "--json"],
        &["keys", "show", id],
        &["keys", "rotate", id],
        &["keys", "revoke", id],
        &["keys", "export-revocations"],
        &["keys", "apply-revocations", log.to_str().unwrap()],
    ] {
        let output = run_without_reader(mintkey_at(directory.path()).args(arguments));
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn error_without_a_reader_keeps_its_exit_code() {
    let directory = prepared();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let failed = run(mintkey_at(directory.path()).args(["keys", "show", "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11"]));
    let unread = mintkey_at(directory.path())
        .args(["keys", "show", "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11"])
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!((failed.status.code(), unread.code()), (Some(1), Some(1)));
}
