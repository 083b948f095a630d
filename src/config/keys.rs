//! Settings of keys and of the key cache.

use std::time::Duration;

use chrono::TimeDelta;
use clap::Args;

use crate::config::{ConfigError, parse_duration, parse_lifetime, parse_scopes_setting, parse_size, setting_name};
use crate::domain::key_limit::KeyLimit;
use crate::domain::scope::Scopes;
use crate::domain::secret::SecretPrefix;

#[derive(Args, Debug)]
#[command(next_help_heading = "Key options")]
pub struct KeySettings {
    /// Prefix of new keys: lowercase letters and digits, separated by single underscores.
    #[arg(long, global = true, env = "MINTKEY_KEY_PREFIX", default_value = "mk", value_name = "PREFIX")]
    pub key_prefix: SecretPrefix,

    /// Scopes that keys may carry, separated by spaces, not by commas [default: any]
    #[arg(long, global = true, env = "MINTKEY_ALLOWED_SCOPES", value_name = "SCOPES", value_parser = parse_scopes_setting)]
    pub allowed_scopes: Option<Scopes>,

    /// Longest lifetime of a key, counted from its creation, such as 90d [default: unlimited]
    #[arg(long, global = true, env = "MINTKEY_MAX_LIFETIME", value_name = "DURATION", value_parser = parse_lifetime)]
    pub max_lifetime: Option<TimeDelta>,

    /// Lifetime of a new key whose request names no expiry [default: --max-lifetime]
    #[arg(long, global = true, env = "MINTKEY_DEFAULT_LIFETIME", value_name = "DURATION", value_parser = parse_lifetime)]
    pub default_lifetime: Option<TimeDelta>,

    /// Maximum number of keys of one owner that are neither revoked nor deleted, or `unlimited`.
    #[arg(long, global = true, env = "MINTKEY_MAX_KEYS_PER_OWNER", default_value_t = KeyLimit::DEFAULT, value_name = "NUMBER")]
    pub max_keys_per_owner: KeyLimit,

    /// Let a revocation include the keys that the key created, those that they created, and so on, unless its request says
    /// otherwise.
    #[arg(long, global = true, env = "MINTKEY_REVOKE_DESCENDANTS")]
    pub revoke_descendants: bool,
}

impl KeySettings {
    /// Checks that the settings fit together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match (self.default_lifetime, self.max_lifetime) {
            (Some(default), Some(max)) if default > max => Err(ConfigError(format!(
                "{}: is longer than {}; shorten it, or leave it out, so that it is the same",
                setting_name("default-lifetime"),
                setting_name("max-lifetime")
            ))),
            _ => Ok(()),
        }
    }
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Cache options")]
pub struct CacheSettings {
    /// Memory for caches, such as 64MiB or 1GiB: three quarters for keys, an eighth for verified tokens, and a sixteenth each
    /// for responses and for keys whose usage is not written yet. 0 caches no keys.
    #[arg(long, env = "MINTKEY_CACHE_SIZE", default_value = "256MiB", value_name = "SIZE", value_parser = parse_size)]
    pub cache_size: usize,

    /// Time before a cached key is reloaded.
    #[arg(long, env = "MINTKEY_CACHE_TTL", default_value = "60s", value_name = "DURATION", value_parser = parse_duration)]
    pub cache_ttl: Duration,

    /// How long to keep verifying cached keys during a database outage. Revocations made on other replicas may be missed
    /// for this long. Below 3s, also how long cached keys are verified while changes of other replicas are not received.
    #[arg(long, env = "MINTKEY_MAX_STALENESS", default_value = "30s", value_name = "DURATION", value_parser = parse_duration)]
    pub max_staleness: Duration,

    /// Leave `exp` out of introspection responses, for gateways that would cache a response until then.
    #[arg(long, env = "MINTKEY_INTROSPECTION_OMIT_EXP")]
    pub introspection_omit_exp: bool,
}
