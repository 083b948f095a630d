//! What Linux knows of the process, under the names that every Prometheus client uses.

use std::fmt;

use chrono::{DateTime, Utc};
use procfs::process::{LimitValue, Process};
use procfs::{ProcResult, ticks_per_second};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::telemetry::metrics::service::Families;

#[derive(Debug)]
pub struct OfProcess {
    /// By our own clock: a sandbox may hide what tells when the machine was started.
    pub started: DateTime<Utc>,
}

struct Found {
    cpu_seconds: f64,
    resident: u64,
    virtual_size: u64,
    open_files: usize,
    max_files: Option<u64>,
}

fn look() -> ProcResult<Found> {
    let process = Process::myself()?;
    let (stat, limits) = (process.stat()?, process.limits()?);
    Ok(Found {
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

impl Collector for OfProcess {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let gauge = |number: u64| ConstGauge::new(number);
        let mut families = Families(encoder);
        let started = ConstGauge::new(self.started.timestamp_micros() as f64 / 1e6);
        families.in_unit(Unit::Seconds, "process_start_time", "Start of the process, since the epoch", started)?;
        // Where /proc is hidden there is no more to tell.
        let Ok(found) = look() else { return Ok(()) };
        families.in_unit(Unit::Seconds, "process_cpu", "Processor time used", ConstCounter::new(found.cpu_seconds))?;
        families.in_unit(Unit::Bytes, "process_resident_memory", "Memory in use", gauge(found.resident))?;
        families.in_unit(Unit::Bytes, "process_virtual_memory", "Memory mapped", gauge(found.virtual_size))?;
        families.one("process_open_fds", "File descriptors in use", gauge(found.open_files as u64))?;
        found
            .max_files
            .map_or(Ok(()), |limit| families.one("process_max_fds", "File descriptors at most", gauge(limit)))
    }
}
