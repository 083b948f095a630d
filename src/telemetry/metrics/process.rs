//! Metrics of the process, from /proc, under the names that all Prometheus clients use.

use std::fmt;

use chrono::{DateTime, Utc};
use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, ticks_per_second};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::telemetry::metrics::writer::MetricWriter;

#[derive(Debug)]
pub struct ProcessCollector {
    /// By this process's clock: a sandbox may hide the boot time in /proc.
    pub started: DateTime<Utc>,
}

struct ProcessStats {
    cpu_seconds: f64,
    resident: u64,
    virtual_size: u64,
    open_files: usize,
    max_files: Option<u64>,
}

fn read_proc() -> ProcResult<ProcessStats> {
    let process = Process::myself()?;
    let (stat, limits) = (process.stat()?, process.limits()?);
    Ok(ProcessStats {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks_per_second() as f64,
        resident: stat.rss * procfs::page_size(),
        virtual_size: stat.vsize,
        open_files: process.fd_count()?,
        max_files: match limits.max_open_files.soft_limit {
            LimitValue::Value(number) => Some(number),
            LimitValue::Unlimited => None,
        },
    })
}

impl Collector for ProcessCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let gauge = |number: u64| ConstGauge::new(number);
        let mut writer = MetricWriter(encoder);
        let started = ConstGauge::new(self.started.timestamp_micros() as f64 / 1e6);
        writer.write_with_unit(
            Unit::Seconds,
            "process_start_time",
            "Start time of the process since the Unix epoch",
            started,
        )?;
        // A sandbox may hide /proc; then these metrics are missing.
        let Ok(stats) = read_proc() else { return Ok(()) };
        writer.write_with_unit(Unit::Seconds, "process_cpu", "CPU time used", ConstCounter::new(stats.cpu_seconds))?;
        writer.write_with_unit(Unit::Bytes, "process_resident_memory", "Resident memory", gauge(stats.resident))?;
        writer.write_with_unit(Unit::Bytes, "process_virtual_memory", "Virtual memory", gauge(stats.virtual_size))?;
        writer.write("process_open_fds", "Open file descriptors", gauge(stats.open_files as u64))?;
        stats
            .max_files
            .map_or(Ok(()), |limit| writer.write("process_max_fds", "Maximum file descriptors", gauge(limit)))
    }
}
