//! Settings: each is a flag with an environment variable, validated once at startup.
//!
//! One file holds the settings of one concern, as a `clap` argument group with its own help heading. To add a setting, add
//! a field to the group; commands that flatten the group get it. A value parser returns the text to show the user.

mod cors_origin;
mod data;
mod issuers;
mod keys;
mod secrets;
mod serve;

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;

use crate::domain::api_key::MAX_LIFETIME;
use crate::domain::scope::{Scope, Scopes};
use crate::domain::secret::MAX_GRACE;
use crate::domain::text_encoding::check_text_encoding;
use crate::files;

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

/// The error on a file whose text cannot be used because of its encoding. It says what to do.
pub fn wrong_encoding(setting: &str, path: &Path, error: &impl std::fmt::Display) -> ConfigError {
    ConfigError(format!("{setting}: {} {error}", path.display()))
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
        (Some(text), _) => match check_text_encoding(text.as_bytes()) {
            Ok(()) => Ok((setting_name(name), text.clone())),
            Err(rule) => Err(ConfigError(format!("{}: {rule}", setting_name(name)))),
        },
        (None, Some(path)) => {
            let setting = setting_name(&format!("{name}-file"));
            match files::read_text(path) {
                Ok(text) => Ok((setting, text)),
                Err(error) if error.kind() == ErrorKind::InvalidData => Err(wrong_encoding(&setting, path, &error)),
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

/// Parses a number of bytes, with a binary unit unless it is 0. Decimal units are rejected, because programs disagree
/// whether `MB` is one.
pub fn parse_size(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
    let unusable = || "give a size in B, KiB, MiB, GiB or TiB, such as 256MiB or 1GiB".to_owned();
    if text == "0" {
        return Ok(0);
    }
    let unit = |(unit, shift): (&str, u32)| Some((text.strip_suffix(unit)?, shift));
    let (number, shift) = UNITS.into_iter().find_map(unit).ok_or_else(unusable)?;
    let number = number.trim_end_matches(' ');
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(unusable());
    }
    let size = number.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << shift));
    size.filter(|size| *size <= MAX_SIZE).ok_or_else(|| "give at most 1024TiB".to_owned())
}

/// 1024 TiB: more than any machine has.
const MAX_SIZE: usize = 1 << 50;

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
    fn parse_size_takes_a_number_with_a_binary_unit() {
        let sizes =
            [("0", 0), ("0B", 0), ("512B", 512), ("64KiB", 64 << 10), ("256MiB", 256 << 20), ("256 MiB", 256 << 20)];
        for (text, size) in sizes.into_iter().chain([("1GiB", 1 << 30), ("2TiB", 2 << 40), ("1024TiB", 1 << 50)]) {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        let no_unit = [
            "", "1", "256", "1000000", "256M", "256MB", "256mib", "MiB", " 1MiB", "1.5GiB", "-1MiB", "+1MiB", "1_000B",
        ];
        for text in no_unit.into_iter().chain(["1MiBB", "0x1B", "MiB1", "1 024KiB"]) {
            assert!(parse_size(text).is_err_and(|error| error.contains("such as 256MiB")), "{text}");
        }
        for text in ["1025TiB", "99999999999999999999B", "18446744073709551615TiB"] {
            assert_eq!(parse_size(text), Err("give at most 1024TiB".to_owned()), "{text}");
        }
    }

    #[test]
    fn setting_name_has_the_flag_and_its_variable() {
        assert_eq!(setting_name("tls-cert"), "--tls-cert (MINTKEY_TLS_CERT)");
    }
}
