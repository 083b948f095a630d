//! Telemetry: logs, traces and metrics. Log lines go to standard error; standard output is for the output of commands.

mod logs;
pub mod metrics;
mod traces;

pub use logs::start_telemetry;
