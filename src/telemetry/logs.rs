//! Logs: one line per event on standard error, written by a thread of its own.

use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets, dynamic_filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{ConfigError, LogFormat, LogLevel};
use crate::telemetry::log_queue::LogQueue;
use crate::telemetry::traces::Traces;

/// The lines of this process, like its subscriber.
static LINES: LogQueue = LogQueue::new();

/// Time for the last lines to be written.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits until the lines so far are written, as far as standard error is read. Call it before the process ends.
pub fn flush_logs() {
    LINES.flush(LOG_FLUSH_TIMEOUT);
}

/// The number of log lines that could not be written.
pub fn dropped_log_lines() -> u64 {
    LINES.dropped()
}

/// Starts the log, and the trace exporter if a collector is configured.
pub fn start_telemetry(format: LogFormat, level: LogLevel) -> Result<Option<Traces>, ConfigError> {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Only this crate's events: a library's debug output may contain what a client sent. The exporter's errors are the only
    // sign of an unreachable collector.
    let ours = Targets::new().with_target("mintkey", level).with_target("opentelemetry", LevelFilter::ERROR);
    let traces = Traces::start().map_err(|error| {
        ConfigError(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}; give a URL such as http://127.0.0.1:4318"))
    })?;
    LINES.start(std::io::stderr()).map_err(|error| ConfigError(format!("cannot start the log thread: {error}")))?;
    match &traces {
        None => tracing_subscriber::registry().with(ours).with(lines(format)).init(),
        // Filters the log layer only, and dynamically: a cached filter result drops the event that follows a library's
        // `enabled!` check.
        Some(traces) => {
            let dynamic = dynamic_filter_fn(move |line, _| ours.would_enable(line.target(), line.level()));
            let lines = lines(format).with_filter(dynamic.with_max_level_hint(level));
            tracing_subscriber::registry().with(lines).with(traces.layer()).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        // Without the message, which may contain an unexpected value of a client.
        tracing::error!(location, "task panicked");
    }));
    Ok(traces)
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer().with_writer(&LINES).with_ansi(false);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
}
