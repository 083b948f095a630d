//! What can go wrong with the store, by what a caller can do about it.

use std::fmt;

use sea_orm::sqlx::postgres::PgDatabaseError;
use sea_orm::{DbErr, RuntimeErr};

#[derive(Debug, Clone)]
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
                Some(database) => {
                    let code = database.code().unwrap_or_default();
                    match database.try_downcast_ref::<PgDatabaseError>() {
                        Some(_) => is_postgres_outage(&code),
                        None => is_sqlite_outage(&code),
                    }
                }
                None => true,
            }
        }
        _ => false,
    }
}

/// Primary result codes (sqlite.org/rescode.html) that speak of the file, the disk or a lock: BUSY, LOCKED, READONLY,
/// IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB. The extended code's low byte is the primary.
fn is_sqlite_outage(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 11 | 13 | 14 | 15 | 26))
}

/// SQLSTATEs (postgresql.org/docs/current/errcodes-appendix.html) that speak of the server's state or of a race, by
/// class: connection, resources, limits, operator's intervention, system; and locks, a read-only server, transactions that were
/// ended for another's sake or for lasting too long.
fn is_postgres_outage(code: &str) -> bool {
    matches!(code.get(..2), Some("08" | "53" | "54" | "57" | "58"))
        || matches!(code, "55P03" | "25006" | "25P03" | "40001" | "40P01")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_or_an_operator_can_cure_is_an_outage() {
        for code in ["08006", "53300", "53100", "57P01", "57P03", "57014", "55P03", "25006", "40P01"] {
            assert!(is_postgres_outage(code), "{code}");
        }
        for code in ["23505", "42P01", "22021", "25P02"] {
            assert!(!is_postgres_outage(code), "{code}");
        }
    }
}
