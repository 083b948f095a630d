//! `mintkey backup`: writes a consistent copy of the SQLite database.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;

use crate::cli::{CommandError, open_store};
use crate::config::DataSettings;

#[derive(Args)]
pub struct BackupCommand {
    /// File to create. Must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    data: DataSettings,
}

pub async fn backup(BackupCommand { to, data }: BackupCommand) -> Result<(), CommandError> {
    // Readable by the owner only, like the database.
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
    let file = created.map_err(|error| format!("--to {}: {error}; give a file that does not exist", to.display()))?;
    let store = open_store(&data).await?;
    let copied = store.backup_to(&to).await;
    store.close().await?;
    if copied.is_err() {
        std::fs::remove_file(&to)?;
    }
    copied?;
    Ok(file.sync_all()?)
}
