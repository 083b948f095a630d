//! Remedies for input/output errors: what to change, by the kind of error and what was attempted.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;

/// What was attempted.
#[derive(Clone, Copy)]
pub enum Context<'a> {
    /// Looking up the data directory.
    FindDirectory(&'a Path),
    /// Opening a file of the data directory.
    ReadFile(&'a Path),
    /// Opening a file of the database for writing.
    WriteFile(&'a Path),
    /// Writing a file of some MiB in a directory.
    WriteIn(&'a Path),
    /// Binding a listening socket.
    Listen(SocketAddr),
}

/// Describes the error and what to change.
pub fn remedy(error: &io::Error, context: Context<'_>) -> String {
    match context {
        Context::FindDirectory(path) => format!(
            "{}: {error}; give the service's user access to it, or set another --data-dir (MINTKEY_DATA_DIR)",
            path.display()
        ),
        Context::ReadFile(path) => format!(
            "{}: {error}; run this as the service's user, and give that user read access to the file",
            path.display()
        ),
        Context::WriteFile(path) | Context::WriteIn(path) => cannot_write(error, path),
        Context::Listen(address) => format!("{address}: {}", cannot_listen(error)),
    }
}

fn cannot_write(error: &io::Error, path: &Path) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("{path} has less than 4 MiB of free space; free some, or the database cannot store anything")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!("{path} is on a file system that is mounted read-only; mount it writable, or set another directory")
        }
        ErrorKind::PermissionDenied => format!(
            "{path} cannot be written by this user; run this as the service's user, and if it is that user, make it the owner"
        ),
        _ => format!("{path} cannot be written: {error}"),
    }
}

fn cannot_listen(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => "another program listens there; stop it, or set another port".into(),
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address; set one that `ip address` shows, or 0.0.0.0 for all".into()
        }
        ErrorKind::PermissionDenied => "this user may not bind that port; set one above 1023".into(),
        _ => format!("{error}; set an address and port that are free"),
    }
}
