//! Telemetry: what an operator sees. Log lines go to standard error; standard output is for what was asked for.

pub mod metrics;
mod traces;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets, dynamic_filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
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
    // Only our own words: a library's debugging output may hold what a client sent. Of the collector we are told by its
    // library alone when it cannot be reached.
    let ours = Targets::new().with_target("mintkey", level).with_target("opentelemetry", LevelFilter::ERROR);
    let traces = Traces::start().map_err(|error| {
        ConfigError(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {error}; give a URL such as http://127.0.0.1:4318"))
    })?;
    match &traces {
        None => tracing_subscriber::registry().with(ours).with(lines(format)).init(),
        // A filter of the lines alone, and one that is asked each time: what is remembered of its answers loses the line
        // after a library's question whether its own would be logged (`enabled!`).
        Some(traces) => {
            let each_time = dynamic_filter_fn(move |line, _| ours.would_enable(line.target(), line.level()));
            let lines = lines(format).with_filter(each_time.with_max_level_hint(level));
            tracing_subscriber::registry().with(lines).with(traces.layer()).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Not the message: it may hold the value that was not expected.
        tracing::error!(place, "panicked");
    }));
    Ok(traces)
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
}
