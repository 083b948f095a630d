//! The access log: one line and one count for each request, also for one that ends without a response.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::{Level, Span, debug, error, info, warn};

use crate::http::error_reason::ErrorReason;
use crate::http::request_context::RequestContext;
use crate::http::route_spec::LogPolicy;
use crate::http::router::{Matched, RouteTable};
use crate::telemetry::UNAUTHENTICATED_LINES;
use crate::telemetry::metrics::RouteMetrics;

/// The status in the log and the metrics of a request whose connection was closed before the response, as nginx has it.
/// It is sent to no client.
const CONNECTION_CLOSED: u16 = 499;

/// Records a request whose head could not be read. It has no id, and its beginning is unknown.
pub fn record_unreadable(metrics: &RouteMetrics, status: u16, cause: String) {
    let (duration, error) =
        (Duration::ZERO, Some(LoggedError { cause: Some(cause), ..ErrorReason::UnreadableHead.into() }));
    metrics.record("-", status, duration);
    AccessLogEntry { method: "-", route: "-", status, duration, client_address: None, subject: None, error }
        .write_sampled(Level::INFO);
}

/// Why a request was refused.
#[derive(Debug, PartialEq, Eq)]
pub struct LoggedError {
    /// A stable code.
    pub reason: &'static str,
    /// What the response does not show.
    pub cause: Option<String>,
}

impl From<ErrorReason> for LoggedError {
    fn from(reason: ErrorReason) -> Self {
        Self { reason: reason.as_str(), cause: None }
    }
}

/// A request from its head to its response. Without a response it is recorded when it is dropped: the server drops a
/// request whose client has left.
pub struct RequestRecord<'a> {
    started: Instant,
    method: &'static str,
    route: &'a str,
    policy: LogPolicy,
    metrics: &'a RouteMetrics,
    context: &'a RequestContext,
    /// Around everything that is logged during the request. There is none where success is logged at `debug`: it costs as
    /// much as a verification.
    pub span: Span,
    recorded: bool,
}

impl<'a> RequestRecord<'a> {
    pub fn new(
        started: Instant,
        method: &'static str,
        matched: Matched<'a>,
        routes: &'a RouteTable,
        context: &'a RequestContext,
    ) -> Self {
        let policy = matched.log_policy();
        let span = match policy {
            LogPolicy::DebugOn200 => Span::none(),
            LogPolicy::Info => context.span(),
        };
        let route = matched.route.map_or("-", |route| &route.template);
        Self { started, method, route, policy, metrics: routes.metrics(matched.route), context, span, recorded: false }
    }

    /// Records the status of the response, and why it is an error.
    pub fn complete(mut self, status: u16, error: Option<LoggedError>) {
        self.record(status, error);
    }

    fn record(&mut self, status: u16, error: Option<LoggedError>) {
        self.recorded = true;
        let duration = self.started.elapsed();
        self.metrics.record(self.method, status, duration);
        let level = level(status, self.policy);
        // The span comes after the check of the level: it allocates.
        if is_enabled(level) {
            if self.span.is_none() {
                self.span = self.context.span();
            }
            let Self { method, route, context, .. } = *self;
            let (client_address, subject) = (context.client_address(), context.subject());
            let entry = AccessLogEntry { method, route, status, duration, client_address, subject, error };
            self.span.in_scope(|| entry.write_sampled(level));
        }
    }
}

impl Drop for RequestRecord<'_> {
    fn drop(&mut self) {
        if !self.recorded {
            self.record(CONNECTION_CLOSED, Some(ErrorReason::ConnectionClosed.into()));
        }
    }
}

/// What the line says. The request's span adds the request id and the trace id.
struct AccessLogEntry<'a> {
    method: &'static str,
    route: &'a str,
    status: u16,
    duration: Duration,
    client_address: Option<IpAddr>,
    subject: Option<&'a str>,
    error: Option<LoggedError>,
}

/// The level of a response: outages are warnings, other server errors are errors.
fn level(status: u16, policy: LogPolicy) -> Level {
    match (status, policy) {
        (503, _) => Level::WARN,
        (500.., _) => Level::ERROR,
        (200, LogPolicy::DebugOn200) => Level::DEBUG,
        _ => Level::INFO,
    }
}

/// True if a line of this level is written. Only `debug` is looked up: the others are rare enough to be always built.
fn is_enabled(level: Level) -> bool {
    level != Level::DEBUG || tracing::enabled!(Level::DEBUG)
}

impl AccessLogEntry<'_> {
    /// Anyone can cause lines without a subject, so that these are limited, also those of requests for which the server has
    /// no place. Errors are the server's own.
    fn write_sampled(self, level: Level) {
        let unlimited = self.subject.is_some() || level == Level::ERROR;
        if unlimited || UNAUTHENTICATED_LINES.admits(self.route, self.status) {
            self.write(level);
        }
    }

    fn write(self, level: Level) {
        let Self { method, route, status, duration, client_address, subject, error } = self;
        let (reason, cause) = error.map_or((None, None), |error| (Some(error.reason), error.cause));
        let duration_ms = duration.as_micros() as f64 / 1e3;
        let client_address = client_address.map(tracing::field::display);
        macro_rules! write {
            ($event:ident) => {
                $event!(method, route, status, duration_ms, client_address, subject, reason, cause, "request completed")
            };
        }
        match level {
            Level::ERROR => write!(error),
            Level::WARN => write!(warn),
            Level::INFO => write!(info),
            _ => write!(debug),
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
            (CONNECTION_CLOSED, LogPolicy::DebugOn200, Level::INFO),
            (500, LogPolicy::DebugOn200, Level::ERROR),
            (503, LogPolicy::DebugOn200, Level::WARN),
        ] {
            assert_eq!(level(status, policy), expected, "{status} {policy:?}");
        }
    }
}
