//! `mintkey migrate`: applies pending database migrations.

use crate::cli::{CommandError, open_store};
use crate::config::DataSettings;

pub async fn migrate(data: DataSettings) -> Result<(), CommandError> {
    Ok(open_store(&data).await?.close().await?)
}
