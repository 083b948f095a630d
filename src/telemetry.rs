//! Telemetry: what an operator sees. Log lines go to standard error; standard output is for what was asked for.

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{LogFormat, LogLevel};

pub fn start(format: LogFormat, level: LogLevel) {
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
    // Only our own words: a library's debugging output may hold what a client sent. A filter of everything, not of the
    // lines: one of a layer loses the line after a library's question whether its own would be logged (`enabled!`).
    let ours = tracing_subscriber::filter::Targets::new().with_target("mintkey", level);
    tracing_subscriber::registry().with(ours).with(lines).init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // Not the message: it may hold the value that was not expected.
        tracing::error!(place, "panicked");
    }));
}
