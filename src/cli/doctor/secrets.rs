//! Checks of the master secret and of the built-in issuer's signing key.

use crate::cli::doctor::CheckResult;
use crate::config::{DataSettings, IfMissing, SecretSettings, SigningSettings};
use crate::domain::secret_hash::Peppers;
use crate::store::{DatabaseReport, PepperUse};

const NOT_GENERATED: &str = "there is none yet; `mintkey serve` generates it";

/// Checks that every stored secret can be verified, and lists how many depend on which line of the master secret.
pub fn check_master_secret(
    data: &DataSettings,
    secrets: &SecretSettings,
    report: &Result<DatabaseReport, String>,
) -> CheckResult {
    let stored: &[PepperUse] = match report {
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
    let peppers = secrets.peppers(data, IfMissing::Reject).map_err(|error| error.to_string())?;
    let list = stored.iter().map(|of| describe(&peppers, of)).collect::<Vec<_>>().join(", ");
    let is_missing = |of: &&PepperUse| line(&peppers, of).is_none();
    let missing: u64 = stored.iter().filter(is_missing).map(|of| of.secrets).sum();
    if !stored.is_empty() && stored.iter().filter(is_missing).count() == stored.len() {
        Err(format!(
            "it is not the one that the keys in the database are hashed with ({list}); restore that one from a backup of \
             master.secret, or add it as another line of the secret"
        ))
    } else if missing > 0 && !secrets.allow_missing_master_secret {
        Err(format!(
            "{missing} stored secrets depend on a master secret that is not given ({list}); add it as another line of the \
             secret, or set --allow-missing-master-secret (MINTKEY_ALLOW_MISSING_MASTER_SECRET=true) to give their keys up"
        ))
    } else if list.is_empty() {
        Ok("readable; the database names no pepper to compare it with".into())
    } else {
        Ok(format!("readable, and matches the database; stored secrets by pepper: {list}"))
    }
}

/// The line of the master secret, counted from 1, that derives this pepper.
fn line(peppers: &Peppers, of: &PepperUse) -> Option<usize> {
    peppers.all().iter().position(|pepper| pepper.id() == of.pepper.id).map(|index| index + 1)
}

fn describe(peppers: &Peppers, of: &PepperUse) -> String {
    let line = line(peppers, of).map_or("not given".to_owned(), |line| format!("line {line}"));
    format!("{} ({line}): {}", of.pepper.id, of.secrets)
}

pub fn check_signing_key(data: &DataSettings, signing: &SigningSettings) -> CheckResult {
    let file = data.data_dir.join("signing.key");
    if signing.signing_key.is_none() && signing.signing_key_file.is_none() && !file.exists() {
        return Ok(NOT_GENERATED.into());
    }
    match signing.signing_key(data, IfMissing::Reject) {
        Ok(_) => Ok("readable, an Ed25519 key".into()),
        Err(error) => Err(error.to_string()),
    }
}
