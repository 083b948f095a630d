//! The access log: one line for each request.

use std::time::Duration;

use tracing::{Level, debug, error, info, warn};

use crate::http::route_spec::LogPolicy;

/// What the line says. The request's span adds the request id and the trace id.
pub struct AccessLogEntry<'a> {
    pub method: &'static str,
    pub route: &'a str,
    pub status: u16,
    pub duration: Duration,
    pub subject: Option<&'a str>,
    /// The reason of an error that the response does not show.
    pub cause: Option<String>,
}

/// The level of a response: outages are warnings, other server errors are errors.
pub fn level(status: u16, policy: LogPolicy) -> Level {
    match (status, policy) {
        (503, _) => Level::WARN,
        (500.., _) => Level::ERROR,
        (200, LogPolicy::DebugOn200) => Level::DEBUG,
        _ => Level::INFO,
    }
}

/// True if a line of this level is written. Only `debug` is looked up: the others are rare enough to be always built.
pub fn is_enabled(level: Level) -> bool {
    level != Level::DEBUG || tracing::enabled!(Level::DEBUG)
}

impl AccessLogEntry<'_> {
    pub fn write(self, level: Level) {
        let Self { method, route, status, duration, subject, cause } = self;
        let duration_ms = duration.as_micros() as f64 / 1e3;
        match level {
            Level::ERROR => error!(method, route, status, duration_ms, subject, cause, "request completed"),
            Level::WARN => warn!(method, route, status, duration_ms, subject, cause, "request completed"),
            Level::INFO => info!(method, route, status, duration_ms, subject, cause, "request completed"),
            _ => debug!(method, route, status, duration_ms, subject, cause, "request completed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_depends_on_status_and_policy() {
        for (status, policy, expected) in [
            (200, LogPolicy::Info, Level::INFO),
            (200, LogPolicy::DebugOn200, Level::DEBUG),
            (401, LogPolicy::DebugOn200, Level::INFO),
            (500, LogPolicy::DebugOn200, Level::ERROR),
            (503, LogPolicy::DebugOn200, Level::WARN),
        ] {
            assert_eq!(level(status, policy), expected, "{status} {policy:?}");
        }
    }
}
