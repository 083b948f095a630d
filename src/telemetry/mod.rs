//! Telemetry: logs, traces and metrics. Log lines go to standard error; standard output is for the output of commands.

mod line_sampler;
mod log_queue;
mod logs;
pub mod metrics;
mod span_queue;
mod traces;

pub use line_sampler::UNAUTHENTICATED_LINES;
pub use logs::{dropped_log_lines, flush_logs, start_telemetry};
pub use span_queue::LOST_SPANS;
