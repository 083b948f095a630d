//! Storage settings: the data directory and the database.

use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;

use crate::config::{ConfigError, secret_setting, setting_name, unusable, wrong_encoding};
use crate::files;

/// What happens if a secret file of the data directory is missing. Only `serve` generates one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    Generate,
    Reject,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Storage options")]
pub struct DataSettings {
    /// Directory for the database and secrets. `serve` creates it with mode 0700 if it is missing.
    #[arg(long, global = true, env = "MINTKEY_DATA_DIR", default_value = "./data", value_name = "DIRECTORY")]
    pub data_dir: PathBuf,

    /// Database URL: sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE (PostgreSQL 15 or later; for TLS add
    /// ?sslmode=verify-full and sslrootcert) [default: mintkey.db in the data directory]
    #[arg(long, global = true, env = "MINTKEY_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,

    /// File with the database URL.
    #[arg(
        long,
        global = true,
        env = "MINTKEY_DATABASE_URL_FILE",
        value_name = "FILE",
        conflicts_with = "database_url"
    )]
    pub database_url_file: Option<PathBuf>,

    /// Maximum PostgreSQL connections.
    #[arg(long, global = true, env = "MINTKEY_DATABASE_CONNECTIONS", default_value_t = 20, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub database_connections: u32,
}

impl DataSettings {
    /// Creates the data directory if it is missing.
    pub fn create_directory(&self) -> Result<(), ConfigError> {
        files::create_private_directory(&self.data_dir).map_err(|error| {
            unusable(&setting_name("data-dir"), &self.data_dir, &error, "give a directory that can be written")
        })
    }

    /// Returns the database URL without creating anything.
    pub fn database_url(&self) -> Result<String, ConfigError> {
        let default = || Ok((String::new(), format!("sqlite://{}", self.data_dir.join("mintkey.db").display())));
        let (_, url) =
            secret_setting("database-url", self.database_url.as_ref(), self.database_url_file.as_deref(), default)?;
        let url = url.trim().to_owned();
        if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            // Does not repeat the URL: it may contain a password.
            return Err(ConfigError(format!(
                "{} does not begin with `sqlite:` or `postgres://`; give sqlite:PATH, such as \
                 sqlite:/var/lib/mintkey/mintkey.db, or postgres://USER:PASSWORD@HOST:PORT/DATABASE",
                setting_name("database-url")
            )));
        }
        Ok(url)
    }

    /// Reads a secret file of the data directory. `setting` is the flag that names another file.
    pub(super) fn read_secret(
        &self,
        name: &str,
        setting: &str,
        if_missing: IfMissing,
        generate: impl FnOnce() -> Result<String, String>,
    ) -> Result<String, ConfigError> {
        let path = self.data_dir.join(name);
        let text = match if_missing {
            IfMissing::Generate => files::read_or_create_private(&path, generate),
            IfMissing::Reject => files::read_text(&path),
        };
        text.map_err(|error| {
            if error.kind() == ErrorKind::InvalidData {
                return wrong_encoding(&setting_name("data-dir"), &path, &error);
            }
            let remedy = match (if_missing, error.kind()) {
                (IfMissing::Reject, ErrorKind::NotFound) => format!(
                    "give a directory in which `mintkey serve` has started, which generates this file, or give {}",
                    setting_name(setting)
                ),
                _ => "give a directory that can be read and written".to_owned(),
            };
            unusable(&setting_name("data-dir"), &path, &error, &remedy)
        })
    }
}
