//! What can go wrong with the store, by what a caller can do about it.

use std::fmt;

use sea_orm::sqlx::postgres::PgDatabaseError;
use sea_orm::{DbErr, RuntimeErr};

use super::{postgres, sqlite};

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
                        Some(_) => postgres::is_outage_code(&code),
                        None => sqlite::is_outage_code(&code),
                    }
                }
                None => true,
            }
        }
        _ => false,
    }
}
