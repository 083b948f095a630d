//! Settings: each is a flag with an environment variable, validated once at startup.
//!
//! One file holds the settings of one concern, as a `clap` argument group with its own help heading. To add a setting, add
//! a field to the group; commands that flatten the group get it. A value parser returns the text to show the user.

mod data;
mod issuers;
mod keys;
mod secrets;
mod serve;

use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;

use crate::domain::api_key::MAX_LIFETIME;
use crate::domain::scope::{Scope, Scopes};
use crate::domain::secret::MAX_GRACE;

pub use data::{DataSettings, IfMissing};
pub use issuers::{CLOCK_TOLERANCE, IssuerSettings};
pub use keys::{CacheSettings, KeySettings};
pub use secrets::{SecretSettings, SigningSettings};
pub use serve::{LogFormat, LogLevel, ServeSettings};

/// A setting that cannot be used. The text names the setting and what to change.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// The name of a setting as users write it, such as `--tls-cert (MINTKEY_TLS_CERT)`.
pub fn setting_name(flag: &str) -> String {
    format!("--{flag} (MINTKEY_{})", flag.to_ascii_uppercase().replace('-', "_"))
}

pub fn unusable(setting: &str, path: &Path, error: &impl std::fmt::Display, remedy: &str) -> ConfigError {
    ConfigError(format!("{setting}: {}: {error}; {remedy}", path.display()))
}

/// Returns the text of a secret and the name of the setting it came from: the inline value, else the content of the file,
/// else the default. `name` is the flag of the inline value; the file's is that with `-file`.
fn secret_setting(
    name: &str,
    inline: Option<&String>,
    file: Option<&Path>,
    default: impl FnOnce() -> Result<(String, String), ConfigError>,
) -> Result<(String, String), ConfigError> {
    match (inline, file) {
        (Some(text), _) => Ok((setting_name(name), text.clone())),
        (None, Some(path)) => {
            let setting = setting_name(&format!("{name}-file"));
            match std::fs::read_to_string(path) {
                Ok(text) => Ok((setting, text)),
                Err(error) => Err(unusable(&setting, path, &error, "give a file that exists and can be read")),
            }
        }
        (None, None) => default(),
    }
}

/// Parses scopes separated by white space.
pub fn parse_scopes_setting(text: &str) -> Result<Scopes, String> {
    let scopes: Result<Vec<_>, _> = text.split_whitespace().map(Scope::new).collect();
    scopes.and_then(Scopes::new).map_err(|rule| rule.to_string())
}

/// Parses a positive duration.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > Duration::ZERO => Ok(duration),
        _ => Err("give a duration such as 500ms, 30s or 1h".to_owned()),
    }
}

/// Parses the lifetime of a key, up to [`MAX_LIFETIME`].
pub fn parse_lifetime(text: &str) -> Result<TimeDelta, String> {
    let lifetime = humantime::parse_duration(text).ok().and_then(|lifetime| TimeDelta::from_std(lifetime).ok());
    match lifetime {
        Some(lifetime) if (TimeDelta::seconds(1)..=MAX_LIFETIME).contains(&lifetime) => Ok(lifetime),
        _ => Err("give a lifetime from 1s to 36500d, such as 12h or 30d".to_owned()),
    }
}

/// Parses the grace period of a rotation, at most [`MAX_GRACE`].
pub fn parse_grace(text: &str) -> Result<Duration, String> {
    let grace = parse_duration(text)?;
    match TimeDelta::from_std(grace) {
        Ok(delta) if delta <= MAX_GRACE => Ok(grace),
        _ => Err("give at most 30d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_lifetime_takes_one_second_to_a_hundred_years() {
        assert_eq!(parse_lifetime("30d"), Ok(TimeDelta::days(30)));
        assert_eq!(parse_lifetime("1d 12h"), Ok(TimeDelta::hours(36)));
        assert_eq!(parse_lifetime("1s"), Ok(TimeDelta::seconds(1)));
        assert_eq!(parse_lifetime("36500d"), Ok(MAX_LIFETIME));
        for invalid in ["", "30", "0s", "999ms", "-1d", "36500d 1s", "never", "99999999999999d"] {
            assert!(parse_lifetime(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn setting_name_has_the_flag_and_its_variable() {
        assert_eq!(setting_name("tls-cert"), "--tls-cert (MINTKEY_TLS_CERT)");
    }
}
