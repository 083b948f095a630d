//! Settings of the server: addresses, TLS, time limits and logs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::config::cors_origin::parse_cors_origin;
use crate::config::{parse_duration, parse_size};
use crate::domain::trusted_proxy::{ForwardedHeader, TrustedProxy};

#[derive(Args, Debug)]
#[command(next_help_heading = "Server options")]
pub struct ServeSettings {
    /// Address and port to listen on. Port 0 picks a free port.
    #[arg(long, env = "MINTKEY_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// Separate address for /metrics, /livez and /readyz. When set, /metrics is served only there.
    #[arg(long, env = "MINTKEY_ADMIN_LISTEN", value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<SocketAddr>,

    /// Origin whose pages may call the API from a browser, such as https://app.example.com. Repeat for several; in the
    /// variable, separate them with `;`. There is no wildcard [default: none]
    #[arg(
        long = "cors-origin",
        env = "MINTKEY_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ';',
        value_parser = parse_cors_origin
    )]
    pub cors_origins: Vec<String>,

    /// Address or network of a proxy in front, such as 10.0.0.0/8. Repeat for several; in the variable, separate them with `;`.
    /// For its requests alone, the audit and the log name the client that the proxy's header names: its right-most address
    /// that is not of a trusted proxy. Connections are still counted by the address that they come from.
    #[arg(long = "trusted-proxy", env = "MINTKEY_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ';')]
    pub trusted_proxies: Vec<TrustedProxy>,

    /// Header in which trusted proxies name their client: x-forwarded-for or forwarded (RFC 7239). The other is ignored. The
    /// proxies must set it or append to it.
    #[arg(long, env = "MINTKEY_FORWARDED_HEADER", value_name = "HEADER", default_value_t = ForwardedHeader::XForwardedFor)]
    pub forwarded_header: ForwardedHeader,

    /// Maximum concurrent connections. Beyond it an idle connection is closed for a new one, first of the address with the
    /// most. If none is idle, new ones get 503, except for /livez, /readyz and /metrics.
    #[arg(long, env = "MINTKEY_MAX_CONNECTIONS", default_value_t = 10_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// Maximum concurrent connections of one address, or of one IPv6 /64 network: half of --max-connections unless set. Beyond
    /// it an idle connection of that address is closed for a new one. If none is idle, new ones get 503. Set it to
    /// --max-connections if all clients come through one proxy that needs more.
    #[arg(long, env = "MINTKEY_MAX_CONNECTIONS_PER_PEER", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections_per_peer: Option<u32>,

    /// TLS certificate chain (PEM). Without it the server speaks plain HTTP.
    #[arg(long, env = "MINTKEY_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate (PEM). Both files are reloaded when they change.
    #[arg(long, env = "MINTKEY_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Time allowed for request headers and the TLS handshake. Checked periodically, so closing can take up to twice this
    /// long.
    #[arg(long, env = "MINTKEY_HEAD_TIMEOUT", default_value = "10s", value_name = "DURATION", value_parser = parse_duration)]
    pub head_timeout: Duration,

    /// Close idle connections after this time. Set it longer than your proxy's keep-alive.
    #[arg(long, env = "MINTKEY_IDLE_TIMEOUT", default_value = "2m", value_name = "DURATION", value_parser = parse_duration)]
    pub idle_timeout: Duration,

    /// Time allowed to receive a request body and to send the response.
    #[arg(long, env = "MINTKEY_REQUEST_TIMEOUT", default_value = "30s", value_name = "DURATION", value_parser = parse_duration)]
    pub request_timeout: Duration,

    /// Memory for requests that have arrived in part: one half for heads, one for bodies of authenticated callers. A
    /// sixteenth more is for OAuth forms that hold the credential of their client. Beyond it requests get 503. At least 1MiB.
    #[arg(long, env = "MINTKEY_REQUEST_MEMORY", default_value = "64MiB", value_name = "SIZE", value_parser = parse_request_memory)]
    pub request_memory: usize,

    /// Time allowed for in-flight requests after SIGTERM or SIGINT.
    #[arg(long, env = "MINTKEY_SHUTDOWN_TIMEOUT", default_value = "8s", value_name = "DURATION", value_parser = parse_duration)]
    pub shutdown_timeout: Duration,

    /// Log format, on standard error.
    #[arg(long, env = "MINTKEY_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,

    /// Minimum log level.
    #[arg(long, env = "MINTKEY_LOG_LEVEL", default_value = "info", value_enum)]
    pub log_level: LogLevel,

    /// Print a ready-to-paste curl command with a one-hour token (development only).
    #[arg(long, env = "MINTKEY_WELCOME", value_name = "BOOL")]
    pub welcome: bool,
}

/// Less would not hold a few requests of the maximum size.
const MIN_REQUEST_MEMORY: usize = 1 << 20;

fn parse_request_memory(text: &str) -> Result<usize, String> {
    match parse_size(text)? {
        size if size >= MIN_REQUEST_MEMORY => Ok(size),
        _ => Err("give at least 1MiB".to_owned()),
    }
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
