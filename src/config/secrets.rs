//! Secret settings: the master secret and the built-in issuer's signing key. Each is a value, a file, or a generated file
//! in the data directory.

use std::path::PathBuf;

use clap::Args;

use crate::config::{ConfigError, DataSettings, secret_setting, setting_name};
use crate::domain::secret::Entropy;
use crate::domain::secret_hash::Peppers;
use crate::service::built_in_issuer::SigningKey;

#[derive(Args, Debug)]
#[command(next_help_heading = "Secret options")]
pub struct SecretSettings {
    /// Secret used to hash keys, at least 32 characters. To rotate, pass several, one per line, newest first [default:
    /// master.secret in the data directory, generated if missing]
    #[arg(long, global = true, env = "MINTKEY_MASTER_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub master_secret: Option<String>,

    /// File with the master secret.
    #[arg(
        long,
        global = true,
        env = "MINTKEY_MASTER_SECRET_FILE",
        value_name = "FILE",
        conflicts_with = "master_secret"
    )]
    pub master_secret_file: Option<PathBuf>,
}

impl SecretSettings {
    /// Derives the peppers from the master secret, which is generated if none is set.
    pub fn peppers(&self, data: &DataSettings) -> Result<Peppers, ConfigError> {
        let generate = || Entropy::from_os().map(|entropy| entropy.hex() + "\n").map_err(|error| error.to_string());
        let default = || Ok((generated("master.secret"), data.read_or_create("master.secret", generate)?));
        let (source, text) =
            secret_setting("master-secret", self.master_secret.as_ref(), self.master_secret_file.as_deref(), default)?;
        Peppers::derive(&text).map_err(|rule| ConfigError(format!("{source}: {rule}")))
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Built-in issuer options")]
pub struct SigningSettings {
    /// Ed25519 private key (PEM) that signs the tokens of `mintkey token` [default: signing.key in the data directory,
    /// generated if missing]
    #[arg(long, env = "MINTKEY_SIGNING_KEY", hide_env_values = true, value_name = "PEM")]
    pub signing_key: Option<String>,

    /// File with the signing key.
    #[arg(long, env = "MINTKEY_SIGNING_KEY_FILE", value_name = "FILE", conflicts_with = "signing_key")]
    pub signing_key_file: Option<PathBuf>,
}

impl SigningSettings {
    /// Returns the signing key, which is generated if none is set.
    pub fn signing_key(&self, data: &DataSettings) -> Result<SigningKey, ConfigError> {
        let generate = || SigningKey::generate_pem().map_err(|error| error.to_string());
        let default = || Ok((generated("signing.key"), data.read_or_create("signing.key", generate)?));
        let (source, pem) =
            secret_setting("signing-key", self.signing_key.as_ref(), self.signing_key_file.as_deref(), default)?;
        SigningKey::from_pem(&pem).map_err(|rule| ConfigError(format!("{source}: {rule}")))
    }
}

fn generated(file: &str) -> String {
    format!("{file} in {}", setting_name("data-dir"))
}
