//! `mintkey backup`: writes a consistent copy of the SQLite database.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{CommandError, open_existing_store, private_files};
use crate::config::DataSettings;
use crate::files::Draft;
use crate::store::{Access, Store};

#[derive(Args)]
pub struct BackupCommand {
    /// File to create. Must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    data: DataSettings,
}

/// The copy gets its name when it is complete, so that neither an error, a signal nor a crash leaves half of one.
pub async fn backup(BackupCommand { to, data }: BackupCommand) -> Result<(), CommandError> {
    let unusable = |error: std::io::Error| format!("--to {}: {error}; {}", to.display(), target_remedy(error.kind()));
    if to.symlink_metadata().is_ok() {
        return Err(unusable(ErrorKind::AlreadyExists.into()).into());
    }
    reject_database_file(&to, &data)?;
    // From now on, these signals do not end the process.
    let mut signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let [interrupt, terminate] = &mut signals;
    let store = open_existing_store(&data, Access::Backup).await?;
    // Readable by the owner only, like the database.
    // Absolute, because SQLite takes a name that begins with `file:` for a URI.
    let draft = Draft::beside(&std::path::absolute(&to)?).map_err(unusable)?;
    let copied = tokio::select! {
        copied = store.backup_to(draft.path()) => Some(copied),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let Some(copied) = copied else {
        // The end of the process ends SQLite, which has this file beside the draft until the copy is complete.
        let _ = std::fs::remove_file(format!("{}-journal", draft.path().display()));
        return Err("interrupted by a signal; nothing was written".into());
    };
    store.close().await?;
    copied?;
    Ok(draft.publish(&to).map_err(unusable)?)
}

fn target_remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound | ErrorKind::NotADirectory => "give a file in a directory that exists",
        ErrorKind::PermissionDenied => "give a directory that this user may write",
        ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "give a directory on a disk that can be written and has space"
        }
        _ => "give a file that does not exist",
    }
}

/// SQLite would take the copy for its log, and overwrite it.
fn reject_database_file(to: &Path, data: &DataSettings) -> Result<(), CommandError> {
    let Some(database) = Store::file(&data.database_url()?) else { return Ok(()) };
    let directory = to.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (Ok(directory), Some(name)) = (directory.canonicalize(), to.file_name()) else { return Ok(()) };
    match private_files::database_files(&database).contains(&directory.join(name)) {
        true => Err(format!("--to {}: SQLite uses this name beside its database; give another", to.display()).into()),
        false => Ok(()),
    }
}
