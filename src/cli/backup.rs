//! `mintkey backup`: writes a consistent copy of the SQLite database.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{CommandError, open_existing_store};
use crate::config::DataSettings;
use crate::files::Draft;
use crate::store::Access;

#[derive(Args)]
pub struct BackupCommand {
    /// File to create. Must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    data: DataSettings,
}

/// The copy gets its name when it is complete, so that neither an error nor a crash leaves half of one.
pub async fn backup(BackupCommand { to, data }: BackupCommand) -> Result<(), CommandError> {
    let unusable = |error: std::io::Error| format!("--to {}: {error}; give a file that does not exist", to.display());
    if to.symlink_metadata().is_ok() {
        return Err(unusable(std::io::ErrorKind::AlreadyExists.into()).into());
    }
    let store = open_existing_store(&data, Access::Backup).await?;
    // Readable by the owner only, like the database.
    let draft = Draft::beside(&to).map_err(unusable)?;
    let copied = store.backup_to(draft.path()).await;
    store.close().await?;
    copied?;
    Ok(draft.publish(&to).map_err(unusable)?)
}
