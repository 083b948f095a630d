//! Telemetry: what an operator sees. Log lines go to standard error; standard output is for what was asked for.

mod traces;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

pub use self::traces::Traces;
use crate::config::{ConfigError, LogFormat, LogLevel};

/// Starts the log, and traces when a collector is named.
pub fn start(format: LogFormat, level: LogLevel) -> Result<Option<Traces>, ConfigError> {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let traces = Traces::start().map_err(|error| {
        ConfigError(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}; give a URL such as http://127.0.0.1:4318"))
    })?;
    // Only our own words: a library's debugging output may hold what a client sent. Of the collector we are told by its
    // library alone when it cannot be reached.
    let ours = tracing_subscriber::filter::Targets::new()
        .with_target("mintkey", level)
        .with_target("opentelemetry", LevelFilter::ERROR);
    let lines = tracing_subscriber::registry().with(lines.with_filter(ours));
    // An absent layer is not one that says nothing: it would have every word of other libraries weighed anew.
    match &traces {
        Some(traces) => lines.with(traces.layer()).init(),
        None => lines.init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Not the message: it may hold the value that was not expected.
        tracing::error!(place, "panicked");
    }));
    Ok(traces)
}
