//! Private files: those of the data directory that only the service's user may access.

use std::path::{Path, PathBuf};

use tracing::warn;

use crate::cli::CommandError;
use crate::config::DataSettings;
use crate::files;
use crate::store::Store;

const ROTATE_SECRET: &str = "someone else may have read this secret: consider replacing it";
const ROTATE_KEYS: &str = "someone else may have read names and hashes, or changed keys: check the audit events";

/// The suffixes of the files that SQLite keeps beside a database in use: the write-ahead log and its shared memory, and the
/// rollback journal, which it looks for when it opens a database.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The secrets that `serve` generates and the files of a SQLite database, whether or not they exist, each with what to
/// consider if others could access it.
fn private_files(data: &DataSettings, database: Option<&Path>) -> Vec<(PathBuf, &'static str)> {
    let secrets = ["master.secret", "signing.key"].map(|name| (data.data_dir.join(name), ROTATE_SECRET));
    let of_database = database.into_iter().flat_map(database_files).map(|path| (path, ROTATE_KEYS));
    secrets.into_iter().chain(of_database).collect()
}

/// The files of a SQLite database, whether or not they exist. SQLite resolves a symbolic link, and keeps its files beside
/// the target.
pub fn database_files(database: &Path) -> Vec<PathBuf> {
    let file = database.canonicalize().unwrap_or_else(|_| database.to_owned());
    let beside = SIDE_FILES.map(|suffix| PathBuf::from(format!("{}{suffix}", file.display())));
    [file].into_iter().chain(beside).collect()
}

/// The first file that others can access, with its mode.
pub fn find_open_file(data: &DataSettings, database: Option<&Path>) -> Option<(PathBuf, u32)> {
    let files = private_files(data, database).into_iter();
    files.map(|(path, _)| path).find_map(|path| Some((path.clone(), files::mode_if_too_open(&path).ok()??)))
}

/// Removes the access of others to existing files, and logs a warning for each file that they could access.
pub fn restrict_files(data: &DataSettings) -> Result<(), CommandError> {
    for (path, consider) in private_files(data, Store::file(&data.database_url()?).as_deref()) {
        let shown = path.display();
        // SQLite would write keys to wherever such a link points.
        if path.is_symlink() && SIDE_FILES.iter().any(|suffix| path.to_string_lossy().ends_with(suffix)) {
            return Err(format!("{shown} is a symbolic link, which SQLite never makes; remove it").into());
        }
        match files::restrict_to_owner(&path) {
            Ok(None) => {}
            Ok(Some(mode)) => {
                let mode = format_args!("{mode:o}");
                warn!(file = %shown, %mode, consider, "file was accessible to other users; its mode is now 600");
            }
            Err(error) => {
                return Err(format!(
                    "{shown}: its mode cannot be checked or corrected: {error}; run: chmod 600 {shown}"
                )
                .into());
            }
        }
    }
    Ok(())
}
