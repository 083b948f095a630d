//! Telemetry: logs, traces and metrics. Log lines go to standard error; standard output is for the output of commands.

mod log_queue;
mod logs;
pub mod metrics;
mod traces;

pub use logs::{dropped_log_lines, flush_logs, start_telemetry};
