//! Trace: what became of a request and how long each part of it took, for a collector.

/// Of spans for the collector, which are not part of log lines.
pub const TARGET: &str = "trace";
