//! Checks of the master secret and of the built-in issuer's signing key.

use crate::cli::doctor::CheckResult;
use crate::config::{DataSettings, SecretSettings, SigningSettings};
use crate::store::DatabaseReport;

const NOT_GENERATED: &str = "there is none yet; `mintkey serve` generates it";

pub fn check_master_secret(
    data: &DataSettings,
    secrets: &SecretSettings,
    report: &Result<DatabaseReport, String>,
) -> CheckResult {
    let stored: &[String] = match report {
        Ok(report) => &report.peppers,
        Err(_) => &[],
    };
    let file = data.data_dir.join("master.secret");
    if secrets.master_secret.is_none() && secrets.master_secret_file.is_none() && !file.exists() {
        return match stored {
            [] => Ok(NOT_GENERATED.into()),
            _ => Err(format!(
                "{} is missing, and the keys in the database are hashed with it; restore the file, or no existing key can \
                 be verified",
                file.display()
            )),
        };
    }
    let peppers = secrets.peppers(data).map_err(|error| error.to_string())?;
    if stored.is_empty() || peppers.all().iter().any(|pepper| stored.iter().any(|id| id == pepper.id())) {
        Ok("readable, and matches the database".into())
    } else {
        Err("it is not the one that the keys in the database are hashed with; restore that one from a backup of \
             master.secret, or add it as another line of the secret"
            .into())
    }
}

pub fn check_signing_key(data: &DataSettings, signing: &SigningSettings) -> CheckResult {
    let file = data.data_dir.join("signing.key");
    if signing.signing_key.is_none() && signing.signing_key_file.is_none() && !file.exists() {
        return Ok(NOT_GENERATED.into());
    }
    match signing.signing_key(data) {
        Ok(_) => Ok("readable, an Ed25519 key".into()),
        Err(error) => Err(error.to_string()),
    }
}
