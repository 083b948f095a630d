//! `mintkey migrate`: applies pending database migrations.

use crate::cli::{CommandError, open_store};
use crate::config::DataSettings;
use crate::store::Store;

pub async fn migrate(data: DataSettings) -> Result<(), CommandError> {
    let file = Store::file(&data.database_url()?);
    // A database elsewhere needs no data directory.
    if file.is_some_and(|file| file.parent() == Some(&data.data_dir)) {
        data.create_directory()?;
    }
    Ok(open_store(&data).await?.close().await?)
}
