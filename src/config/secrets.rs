//! Secret settings: the master secret and the built-in issuer's signing key. Each is a value, a file, or a generated file
//! in the data directory.

use std::path::PathBuf;

use clap::Args;

use crate::config::{ConfigError, DataSettings, IfMissing, secret_setting, setting_name};
use crate::domain::secret::Entropy;
use crate::domain::secret_hash::Peppers;
use crate::service::built_in_issuer::SigningKey;
use crate::service::peppers::MissingPepper;

#[derive(Args, Debug)]
#[command(next_help_heading = "Secret options")]
pub struct SecretSettings {
    /// Secret used to hash keys, at least 32 characters. To rotate, pass several, one per line, newest first [default:
    /// master.secret in the data directory, which `serve` generates if it is missing]
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

    /// Start although stored secrets were hashed with a master secret that is not given. Their keys are reported as
    /// unknown.
    #[arg(long, global = true, env = "MINTKEY_ALLOW_MISSING_MASTER_SECRET", value_name = "BOOL")]
    pub allow_missing_master_secret: bool,
}

impl SecretSettings {
    pub fn missing_pepper(&self) -> MissingPepper {
        if self.allow_missing_master_secret { MissingPepper::Allow } else { MissingPepper::Refuse }
    }

    /// True if no master secret is set and the data directory has none.
    pub fn is_master_secret_missing(&self, data: &DataSettings) -> bool {
        self.master_secret.is_none()
            && self.master_secret_file.is_none()
            && !data.data_dir.join("master.secret").exists()
    }

    /// Derives the peppers from the master secret.
    pub fn peppers(&self, data: &DataSettings, if_missing: IfMissing) -> Result<Peppers, ConfigError> {
        let generate = || Entropy::from_os().map(|entropy| entropy.hex() + "\n").map_err(|error| error.to_string());
        let read = || data.read_secret("master.secret", "master-secret-file", if_missing, generate);
        let default = || Ok((generated("master.secret"), read()?));
        let (source, text) =
            secret_setting("master-secret", self.master_secret.as_ref(), self.master_secret_file.as_deref(), default)?;
        Peppers::derive(&text).map_err(|rule| ConfigError(format!("{source}: {rule}")))
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Built-in issuer options")]
pub struct SigningSettings {
    /// Ed25519 private key (PEM) that signs the tokens of `mintkey token` [default: signing.key in the data directory,
    /// which `serve` generates if it is missing and built-in tokens are accepted]
    #[arg(long, env = "MINTKEY_SIGNING_KEY", hide_env_values = true, value_name = "PEM")]
    pub signing_key: Option<String>,

    /// File with the signing key.
    #[arg(long, env = "MINTKEY_SIGNING_KEY_FILE", value_name = "FILE", conflicts_with = "signing_key")]
    pub signing_key_file: Option<PathBuf>,
}

impl SigningSettings {
    /// Returns the key that signs the built-in issuer's tokens.
    pub fn signing_key(&self, data: &DataSettings, if_missing: IfMissing) -> Result<SigningKey, ConfigError> {
        let generate = || SigningKey::generate_pem().map_err(|error| error.to_string());
        let read = || data.read_secret("signing.key", "signing-key-file", if_missing, generate);
        let default = || Ok((generated("signing.key"), read()?));
        let (source, pem) =
            secret_setting("signing-key", self.signing_key.as_ref(), self.signing_key_file.as_deref(), default)?;
        SigningKey::from_pem(&pem).map_err(|rule| ConfigError(format!("{source}: {rule}")))
    }
}

fn generated(file: &str) -> String {
    format!("{file} in {}", setting_name("data-dir"))
}
