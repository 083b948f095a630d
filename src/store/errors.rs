//! Store errors, by what the caller can do about them.

use sea_orm::sqlx::postgres::PgDatabaseError;
use sea_orm::{DbErr, RuntimeErr, sqlx};

#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot serve the request now. A retry or an operator helps.
    #[error("{0}")]
    Unavailable(String),
    /// The same, because the connection was lost. Another may work at once.
    #[error("{0}")]
    ConnectionLost(String),
    /// The database responds and rejects the statement. What it does not reject works.
    #[error("{1}")]
    Rejected(Rejection, String),
    /// This binary must not use the database as it is, for example because a newer release migrated it.
    #[error("{0}")]
    Incompatible(String),
    /// A bug.
    #[error(transparent)]
    Internal(DbErr),
}

/// Why a database that responds rejects a statement, until an operator changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    ReadOnly,
    DiskFull,
    MissingPrivilege,
    NotificationQueueFull,
}

impl Rejection {
    /// The state of the database, in words that begin after "the database".
    pub fn message(self) -> &'static str {
        match self {
            Self::ReadOnly => "takes no changes: it is read-only",
            Self::DiskFull => "takes no changes: its disk is full",
            Self::MissingPrivilege => "rejects mintkey's user: a privilege on a table is missing",
            Self::NotificationQueueFull => "takes no changes of existing keys: its queue of notifications is full",
        }
    }

    fn of(error: &DbErr) -> Option<Self> {
        let error = sqlx_error(error)?.as_database_error()?;
        let code = error.code().unwrap_or_default();
        match error.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => Self::of_postgres(&code, error.routine()),
            None => Self::of_sqlite(&code),
        }
    }

    /// The code of a full queue has other meanings, so PostgreSQL's function that reports it decides.
    fn of_postgres(code: &str, routine: Option<&str>) -> Option<Self> {
        match code {
            "25006" => Some(Self::ReadOnly),
            "53100" => Some(Self::DiskFull),
            "42501" => Some(Self::MissingPrivilege),
            "54000" if routine == Some("PreCommit_Notify") => Some(Self::NotificationQueueFull),
            _ => None,
        }
    }

    /// READONLY and FULL. The low byte of an extended code is the primary code.
    fn of_sqlite(code: &str) -> Option<Self> {
        match code.parse::<u32>().ok()? & 0xff {
            8 => Some(Self::ReadOnly),
            13 => Some(Self::DiskFull),
            _ => None,
        }
    }
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

impl StoreError {
    pub fn incompatible(reason: &str) -> Self {
        Self::Incompatible(reason.to_owned())
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        match Rejection::of(&error) {
            Some(rejection) => Self::Rejected(rejection, error.to_string()),
            None if is_outage(&error) => Self::Unavailable(error.to_string()),
            None => Self::Internal(error),
        }
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

/// What a failed statement says of its PostgreSQL session.
#[derive(Debug, PartialEq, Eq)]
pub enum SessionFault {
    /// The session has ended.
    Lost,
    /// The session rejects changes.
    ReadOnly,
}

impl SessionFault {
    pub fn of(error: &DbErr) -> Option<Self> {
        let error = sqlx_error(error)?;
        match error.as_database_error() {
            Some(error) => Self::of_code(&error.code().unwrap_or_default()),
            None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)).then_some(Self::Lost),
        }
    }

    fn of_code(code: &str) -> Option<Self> {
        match code {
            "25006" => Some(Self::ReadOnly),
            // Ended by an administrator, a crash of the server or `idle_session_timeout`.
            "57P01" | "57P02" | "57P05" => Some(Self::Lost),
            _ => None,
        }
    }
}

/// What a failed statement says of a SQLite database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqliteFault {
    /// Another connection holds the lock: BUSY.
    Locked,
    /// The file, its directory or the disk: READONLY, IOERR, CORRUPT, CANTOPEN and NOTADB. A new connection may not meet it.
    File,
}

impl SqliteFault {
    /// Returns the fault, and what SQLite says.
    pub fn of(error: &DbErr) -> Option<(Self, String)> {
        let error = sqlx_error(error)?.as_database_error()?;
        let code: u32 = error.code()?.parse().ok()?;
        let fault = match code & 0xff {
            5 => Self::Locked,
            8 | 10 | 11 | 14 | 26 => Self::File,
            _ => return None,
        };
        Some((fault, format!("{} (code {code})", error.message())))
    }
}

/// True for result codes (sqlite.org/rescode.html) about the file, the disk or a lock: BUSY, LOCKED, READONLY, IOERR,
/// CORRUPT, FULL, CANTOPEN, PROTOCOL and NOTADB. The low byte of an extended code is the primary code.
fn is_sqlite_outage(code: &str) -> bool {
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 11 | 13 | 14 | 15 | 26))
}

/// True for SQLSTATEs (postgresql.org/docs/current/errcodes-appendix.html) about the state of the server or a race.
/// By class: connection, resources, limits, operator intervention, system. Others: lock not available, read-only
/// server, idle transaction timeout, transaction timeout, serialization failure, deadlock.
fn is_postgres_outage(code: &str) -> bool {
    matches!(code.get(..2), Some("08" | "53" | "54" | "57" | "58"))
        || matches!(code, "55P03" | "25006" | "25P03" | "25P04" | "40001" | "40P01")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_fault_is_the_end_of_a_session_or_read_only() {
        assert_eq!(SessionFault::of_code("57P01"), Some(SessionFault::Lost));
        assert_eq!(SessionFault::of_code("25006"), Some(SessionFault::ReadOnly));
        assert_eq!(SessionFault::of_code("57014"), None);
    }

    #[test]
    fn rejection_is_what_only_an_operator_resolves() {
        for (code, routine, rejection) in [
            ("25006", None, Some(Rejection::ReadOnly)),
            ("53100", None, Some(Rejection::DiskFull)),
            ("42501", None, Some(Rejection::MissingPrivilege)),
            ("54000", Some("PreCommit_Notify"), Some(Rejection::NotificationQueueFull)),
            ("54000", Some("index_form_tuple"), None),
            ("57014", None, None),
        ] {
            assert_eq!(Rejection::of_postgres(code, routine), rejection, "{code} {routine:?}");
        }
        // SQLITE_READONLY_DBMOVED, SQLITE_FULL, SQLITE_BUSY.
        let sqlite = ["1032", "13", "5"].map(Rejection::of_sqlite);
        assert_eq!(sqlite, [Some(Rejection::ReadOnly), Some(Rejection::DiskFull), None]);
    }

    #[test]
    fn outage_is_what_waiting_or_an_operator_resolves() {
        for code in
            ["08006", "53300", "53100", "57P01", "57P03", "57014", "55P03", "25006", "25P03", "25P04", "40001", "40P01"]
        {
            assert!(is_postgres_outage(code), "{code}");
        }
        for code in ["23505", "42P01", "22021", "25P02"] {
            assert!(!is_postgres_outage(code), "{code}");
        }
    }
}
