//! The database file: whether it is still the one that was opened, and why it cannot be used.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use sea_orm::DbErr;

use crate::files;
use crate::store::StoreError;
use crate::store::errors::SqliteFault;

/// The database file as it was when it was opened. `None` for a database in memory.
pub struct DatabaseFile(Option<OpenedFile>);

struct OpenedFile {
    path: PathBuf,
    metadata: Metadata,
    /// SQLite reads it without locks.
    immutable: bool,
}

impl OpenedFile {
    fn write_ahead_log(&self) -> PathBuf {
        write_ahead_log(&self.path)
    }
}

pub fn write_ahead_log(database: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", database.display()))
}

impl DatabaseFile {
    /// Finds the file at this path, which must exist.
    pub fn find(path: Option<PathBuf>, immutable: bool) -> Result<Self, StoreError> {
        let Some(path) = path else { return Ok(Self(None)) };
        match std::fs::metadata(&path) {
            Ok(metadata) => Ok(Self(Some(OpenedFile { path, metadata, immutable }))),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::Incompatible(format!(
                "{}: {error}; check the path, or create the database with `mintkey migrate`",
                path.display()
            ))),
            Err(error) => Err(StoreError::Incompatible(explain_unusable(&path, &error.to_string()))),
        }
    }

    /// Converts an error. One about the file says who may use it.
    pub fn store_error(&self, error: DbErr) -> StoreError {
        let fault = SqliteFault::of(&error);
        match (fault, StoreError::from(error), &self.0) {
            (Some((SqliteFault::File, message)), StoreError::Rejected(rejection, _), Some(opened)) => {
                StoreError::Rejected(rejection, explain_unusable(&opened.path, &message))
            }
            (Some((SqliteFault::File, message)), _, Some(opened)) => {
                StoreError::Unavailable(explain_unusable(&opened.path, &message))
            }
            (Some((SqliteFault::Locked, _)), _, _) => self.locked_error(),
            (_, error, _) => error,
        }
    }

    /// The lock of another process, because this one has one writer.
    pub fn locked_error(&self) -> StoreError {
        let file = self.0.as_ref().map_or("the database".to_owned(), |opened| opened.path.display().to_string());
        StoreError::Unavailable(format!(
            "another process holds the write lock of {file} (`fuser {file}` shows those that have it open)"
        ))
    }

    /// SQLite keeps writing to a file that was moved or deleted, so keys that it acknowledges would be lost.
    pub fn check_not_replaced(&self) -> Result<(), StoreError> {
        let Some(opened) = &self.0 else { return Ok(()) };
        match std::fs::metadata(&opened.path) {
            Ok(file) if (file.dev(), file.ino()) == (opened.metadata.dev(), opened.metadata.ino()) => Ok(()),
            Ok(_) => Err(StoreError::incompatible("the database file was replaced by another; restart to use it")),
            Err(error) => Err(StoreError::Unavailable(format!("the database file is gone: {error}"))),
        }
    }

    /// Returns an error if the file is read without locks and another process has begun to use it since it was opened:
    /// what was read may mix two states.
    pub fn check_unchanged(&self) -> Result<(), StoreError> {
        let Some(opened) = self.0.as_ref().filter(|opened| opened.immutable) else { return Ok(()) };
        let state = |file: &Metadata| (file.mtime(), file.mtime_nsec(), file.len());
        let changed = |file: Metadata| state(&file) != state(&opened.metadata);
        if std::fs::metadata(&opened.path).map_or(true, changed) || opened.write_ahead_log().exists() {
            return Err(StoreError::Unavailable(
                "another process began to use the database while it was read; repeat the command".into(),
            ));
        }
        Ok(())
    }
}

/// Describes an error about a database file: who may use it, who tries to, and what to do. SQLite says only "unable to open
/// database file", also if it may not create its log in the directory.
pub fn explain_unusable(database: &Path, error: &str) -> String {
    let directory = database.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (file, parent) = (database.display(), directory.display());
    let user = files::user_name(rustix::process::geteuid().as_raw());
    let may_write = |path: &Path| access(path, Access::READ_OK | Access::WRITE_OK).map_err(|error| error.kind());
    // Not by opening the file: closing it would release SQLite's locks on it, which are the process's.
    // SQLite gives its log the mode that the database has at that time.
    let log_is_denied = || may_write(&write_ahead_log(database)) == Err(ErrorKind::PermissionDenied);
    let remedy = match may_write(database) {
        Ok(()) if log_is_denied() => {
            format!("its log has another owner or mode; run: chown {user} {file}* && chmod 600 {file}*")
        }
        Err(ErrorKind::ReadOnlyFilesystem) => {
            "the file system is read-only: see `dmesg` for an error of the disk, and mount it writable".to_owned()
        }
        Err(ErrorKind::PermissionDenied) => format!(
            "run this as the service's user, and if that is {user}, run: chown {user} {parent} {file}* && \
             chmod 600 {file}*"
        ),
        Err(ErrorKind::NotFound) => "check the path, or create the database with `mintkey migrate`".to_owned(),
        Ok(()) if may_write(directory).is_err() => format!(
            "SQLite keeps its log beside the file: run this as the service's user, and if that is {user}, run: \
             chown {user} {parent}"
        ),
        _ => "check that this is a database of mintkey, and the disk".to_owned(),
    };
    let described = |path: &Path| match std::fs::metadata(path) {
        Ok(found) => format!("owner {}, mode {:o}", files::user_name(found.uid()), found.mode() & 0o7777),
        Err(error) => error.to_string(),
    };
    format!(
        "{file}: {error} (file: {}; directory {parent}: {}; this process: user {user}); {remedy}; `mintkey doctor` checks it",
        described(database),
        described(directory)
    )
}
