//! Config: every setting, as a flag with an environment variable, validated once at the start.

mod issuers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::TimeDelta;
use clap::{Args, ValueEnum};

use crate::domain::scope::{Scope, Scopes};
use crate::domain::secret::MAX_GRACE;
use crate::domain::secret::{Entropy, SecretPrefix};
use crate::domain::secret_hash::Peppers;
use crate::files;
use crate::service::built_in_issuer::SigningKey;

pub use issuers::IssuerSettings;

/// A setting that cannot be used. The text names the setting and the cure.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// Where the data is, and with which secrets it is read.
#[derive(Args, Debug)]
pub struct DataSettings {
    /// Directory of the database, the master secret and the signing key; made, for its owner alone, when absent.
    #[arg(long, global = true, env = "MINTKEY_DATA_DIR", default_value = "./data", value_name = "DIRECTORY")]
    pub data_dir: PathBuf,

    /// Database, as sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE (PostgreSQL 15 or later, with
    /// ?sslmode=verify-full and sslrootcert for TLS) [default: mintkey.db in the data directory]
    #[arg(long, global = true, env = "MINTKEY_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,

    /// Connections to PostgreSQL, at most.
    #[arg(long, global = true, env = "MINTKEY_DATABASE_CONNECTIONS", default_value_t = 20, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub database_connections: u32,

    /// File that holds the database URL.
    #[arg(
        long,
        global = true,
        env = "MINTKEY_DATABASE_URL_FILE",
        value_name = "FILE",
        conflicts_with = "database_url"
    )]
    pub database_url_file: Option<PathBuf>,

    /// Master secret for hashing keys, 32 characters or more; several, one a line, newest first, while one replaces
    /// another [default: master.secret in the data directory, made when absent]
    #[arg(long, global = true, env = "MINTKEY_MASTER_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub master_secret: Option<String>,

    /// File that holds the master secret.
    #[arg(
        long,
        global = true,
        env = "MINTKEY_MASTER_SECRET_FILE",
        value_name = "FILE",
        conflicts_with = "master_secret"
    )]
    pub master_secret_file: Option<PathBuf>,
}

/// The standalone issuer's key.
#[derive(Args, Debug)]
pub struct SigningSettings {
    /// Ed25519 private key in PEM with which the standalone issuer signs its tokens [default: signing.key in the data
    /// directory, made when absent]
    #[arg(long, env = "MINTKEY_SIGNING_KEY", hide_env_values = true, value_name = "PEM")]
    pub signing_key: Option<String>,

    /// File that holds the signing key.
    #[arg(long, env = "MINTKEY_SIGNING_KEY_FILE", value_name = "FILE", conflicts_with = "signing_key")]
    pub signing_key_file: Option<PathBuf>,
}

/// What new keys are like.
#[derive(Args, Debug)]
pub struct KeySettings {
    /// What new keys begin with: lower-case letters and digits, with single underscores between them.
    #[arg(long, global = true, env = "MINTKEY_KEY_PREFIX", default_value = "mk", value_name = "PREFIX")]
    pub key_prefix: SecretPrefix,

    /// The scopes that keys may carry, separated by spaces [default: any]
    #[arg(long, global = true, env = "MINTKEY_ALLOWED_SCOPES", value_name = "SCOPES", value_parser = scopes)]
    pub allowed_scopes: Option<Scopes>,

    /// Keys that are held in memory.
    #[arg(long, global = true, env = "MINTKEY_CACHE_ENTRIES", default_value_t = 1_000_000, value_name = "NUMBER")]
    pub cache_entries: usize,

    /// How long a key is held in memory before it is read again.
    #[arg(long, global = true, env = "MINTKEY_CACHE_TTL", default_value = "60s", value_name = "DURATION", value_parser = duration)]
    pub cache_ttl: Duration,

    /// How long keys in memory are verified while the database cannot be asked; a revocation elsewhere is not heard of
    /// for that long.
    #[arg(long, global = true, env = "MINTKEY_MAX_STALENESS", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub max_staleness: Duration,
}

/// What `serve` needs beside.
#[derive(Args, Debug)]
pub struct ServeSettings {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "MINTKEY_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// Address and port of a second listener for /metrics, /livez and /readyz; /metrics is then there alone [default: they
    /// are where the API is]
    #[arg(long, env = "MINTKEY_ADMIN_LISTEN", value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<SocketAddr>,

    /// Connections served at a time; more wait to be accepted.
    #[arg(long, env = "MINTKEY_MAX_CONNECTIONS", default_value_t = 10_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Certificate for TLS in PEM, followed by those that vouch for it; without one, HTTP is served in the clear.
    #[arg(long, env = "MINTKEY_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM. Both files are read again when they change.
    #[arg(long, env = "MINTKEY_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// How long the head of a request may take to arrive, and a TLS handshake to be done; looked at as often, so that
    /// a connection is closed after up to twice as long.
    #[arg(long, env = "MINTKEY_HEAD_TIMEOUT", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub head_timeout: Duration,

    /// How long a connection may be without a request before it is closed. Longer than proxies and clients keep one.
    #[arg(long, env = "MINTKEY_IDLE_TIMEOUT", default_value = "2m", value_name = "DURATION", value_parser = duration)]
    pub idle_timeout: Duration,

    /// How long a request's body may take to arrive, and its answer to be taken.
    #[arg(long, env = "MINTKEY_REQUEST_TIMEOUT", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub request_timeout: Duration,

    /// How long requests in flight may go on after SIGTERM or SIGINT.
    #[arg(long, env = "MINTKEY_SHUTDOWN_TIMEOUT", default_value = "8s", value_name = "DURATION", value_parser = duration)]
    pub shutdown_timeout: Duration,

    /// Form of the log lines on standard error.
    #[arg(long, env = "MINTKEY_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,

    /// Least severe level that is logged.
    #[arg(long, env = "MINTKEY_LOG_LEVEL", default_value = "info", value_enum)]
    pub log_level: LogLevel,

    /// Print, on standard output, a curl command with a token of one hour that works when pasted. For a first try, not
    /// for production.
    #[arg(long, env = "MINTKEY_WELCOME", value_name = "BOOL")]
    pub welcome: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

impl DataSettings {
    /// Makes the data directory if need be, and gives the URL of the database.
    pub fn database_url(&self) -> Result<String, ConfigError> {
        files::make_private_directory(&self.data_dir).map_err(|error| {
            unusable("--data-dir (MINTKEY_DATA_DIR)", &self.data_dir, &error, "give a directory that can be written")
        })?;
        self.read_database_url()
    }

    /// The URL of the database, with nothing made for it.
    pub fn read_database_url(&self) -> Result<String, ConfigError> {
        let given = match &self.database_url_file {
            Some(file) => Some(read("--database-url-file (MINTKEY_DATABASE_URL_FILE)", file)?.trim().to_owned()),
            None => self.database_url.clone(),
        };
        let url = given.unwrap_or_else(|| format!("sqlite://{}", self.data_dir.join("mintkey.db").display()));
        if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            // The URL itself may hold a password, so it is not repeated.
            return Err(ConfigError(
                "--database-url (MINTKEY_DATABASE_URL) does not begin with `sqlite:` or `postgres://`; give \
                 sqlite:PATH, such as sqlite:/var/lib/mintkey/mintkey.db, or postgres://USER:PASSWORD@HOST:PORT/DATABASE"
                    .into(),
            ));
        }
        Ok(url)
    }

    pub fn peppers(&self) -> Result<Peppers, ConfigError> {
        let (setting, text) = match (&self.master_secret, &self.master_secret_file) {
            (Some(secret), _) => ("--master-secret (MINTKEY_MASTER_SECRET)", secret.clone()),
            (None, Some(file)) => {
                let setting = "--master-secret-file (MINTKEY_MASTER_SECRET_FILE)";
                (setting, read(setting, file)?)
            }
            (None, None) => (
                "master.secret in --data-dir (MINTKEY_DATA_DIR)",
                self.read_or_make("master.secret", || {
                    Entropy::from_os().map(|entropy| entropy.hex() + "\n").map_err(|error| error.to_string())
                })?,
            ),
        };
        Peppers::derive(&text).map_err(|rule| ConfigError(format!("{setting}: {rule}")))
    }

    pub fn signing_key(&self, settings: &SigningSettings) -> Result<SigningKey, ConfigError> {
        let (setting, text) = match (&settings.signing_key, &settings.signing_key_file) {
            (Some(pem), _) => ("--signing-key (MINTKEY_SIGNING_KEY)", pem.clone()),
            (None, Some(file)) => {
                let setting = "--signing-key-file (MINTKEY_SIGNING_KEY_FILE)";
                (setting, read(setting, file)?)
            }
            (None, None) => (
                "signing.key in --data-dir (MINTKEY_DATA_DIR)",
                self.read_or_make("signing.key", || SigningKey::generate_pem().map_err(|error| error.to_string()))?,
            ),
        };
        SigningKey::from_pem(&text).map_err(|rule| ConfigError(format!("{setting}: {rule}")))
    }

    fn read_or_make(&self, name: &str, make: impl FnOnce() -> Result<String, String>) -> Result<String, ConfigError> {
        let path = self.data_dir.join(name);
        files::make_private_directory(&self.data_dir).and_then(|()| files::read_or_make_private(&path, make)).map_err(
            |error| {
                unusable(
                    "--data-dir (MINTKEY_DATA_DIR)",
                    &path,
                    &error,
                    "give a directory that can be read and written",
                )
            },
        )
    }
}

fn read(setting: &str, path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| unusable(setting, path, &error, "give a file that exists and can be read"))
}

pub fn unusable(setting: &str, path: &Path, error: &impl std::fmt::Display, cure: &str) -> ConfigError {
    ConfigError(format!("{setting}: {}: {error}; {cure}", path.display()))
}

/// Scopes, separated by white space.
pub fn scopes(text: &str) -> Result<Scopes, String> {
    let scopes: Result<Vec<_>, _> = text.split_whitespace().map(Scope::new).collect();
    scopes.and_then(Scopes::new).map_err(|rule| rule.to_string())
}

pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration > Duration::ZERO => Ok(duration),
        _ => Err("give a duration such as 500ms, 30s or 1h".to_owned()),
    }
}

/// How long an old secret may stay good.
pub fn grace(text: &str) -> Result<Duration, String> {
    let grace = duration(text)?;
    match TimeDelta::from_std(grace) {
        Ok(delta) if delta <= MAX_GRACE => Ok(grace),
        _ => Err("give at most 30d".to_owned()),
    }
}
