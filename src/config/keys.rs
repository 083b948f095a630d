//! Settings of keys and of the key cache.

use std::time::Duration;

use clap::Args;

use crate::config::{parse_duration, parse_scopes_setting};
use crate::domain::scope::Scopes;
use crate::domain::secret::SecretPrefix;

#[derive(Args, Debug)]
#[command(next_help_heading = "Key options")]
pub struct KeySettings {
    /// Prefix of new keys: lowercase letters and digits, separated by single underscores.
    #[arg(long, global = true, env = "MINTKEY_KEY_PREFIX", default_value = "mk", value_name = "PREFIX")]
    pub key_prefix: SecretPrefix,

    /// Scopes that keys may carry, separated by spaces [default: any]
    #[arg(long, global = true, env = "MINTKEY_ALLOWED_SCOPES", value_name = "SCOPES", value_parser = parse_scopes_setting)]
    pub allowed_scopes: Option<Scopes>,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Cache options")]
pub struct CacheSettings {
    /// Maximum number of cached keys.
    #[arg(long, env = "MINTKEY_CACHE_ENTRIES", default_value_t = 1_000_000, value_name = "NUMBER")]
    pub cache_entries: usize,

    /// Time before a cached key is reloaded.
    #[arg(long, env = "MINTKEY_CACHE_TTL", default_value = "60s", value_name = "DURATION", value_parser = parse_duration)]
    pub cache_ttl: Duration,

    /// How long to keep verifying cached keys during a database outage. Revocations made on other replicas may be missed
    /// for this long.
    #[arg(long, env = "MINTKEY_MAX_STALENESS", default_value = "30s", value_name = "DURATION", value_parser = parse_duration)]
    pub max_staleness: Duration,
}
