//! What can go wrong with the store, by what a caller can do about it.

use std::fmt;

use sea_orm::{DbErr, RuntimeErr};

#[derive(Debug)]
pub enum StoreError {
    /// The store cannot be asked now. Waiting helps, or an operator.
    Unavailable(String),
    /// The store will not be used as it is; only at a start.
    Refused(String),
    /// A mistake of ours.
    Bug(DbErr),
}

impl StoreError {
    pub fn refused(reason: &str) -> Self {
        Self::Refused(reason.to_owned())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::Bug(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if is_outage(&error) { Self::Unavailable(error.to_string()) } else { Self::Bug(error) }
    }
}

fn is_outage(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            match error.as_database_error() {
                Some(database) => database.code().is_some_and(|code| is_outage_code(&code)),
                None => true,
            }
        }
        _ => false,
    }
}

/// SQLite's primary result codes (sqlite.org/rescode.html) that speak of the file, the disk or a lock:
/// BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB. The extended code's low byte is the primary.
fn is_outage_code(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 11 | 13 | 14 | 15 | 26))
}
