//! The result as a Markdown table, and the limits that it must keep.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::Settings;
use crate::counted::{Counted, CountsByKey};
use crate::samples::Sample;

/// The growth that is no leak: the cache keeps an entry for every secret that was verified.
const MEMORY_GROWTH: u64 = 32 << 20;

/// Connections that happened to be open when the sample was taken.
const DESCRIPTOR_GROWTH: u64 = 16;

pub struct Report {
    pub settings: Settings,
    /// The machine, with its load before the start.
    pub machine: String,
    pub stores: [StoreReport; 2],
}

pub struct StoreReport {
    pub name: &'static str,
    pub elapsed: Duration,
    pub counted: Counted,
    pub samples: Vec<Sample>,
    /// Log lines with the level ERROR.
    pub errors: usize,
    pub differences: Vec<String>,
}

/// Processor, cores, memory, kernel and load.
pub fn machine() -> String {
    let line = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        line.split_once(':').unwrap_or_default().1.trim().to_owned()
    };
    let memory: u64 = line("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    format!(
        "{}, {} cores, {} GiB, Linux {}; load {} before",
        line("/proc/cpuinfo", "model name"),
        std::thread::available_parallelism().unwrap(),
        (memory + (1 << 19)) >> 20,
        kernel.trim(),
        load()
    )
}

/// The load average of the last 15 minutes.
fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap().split(' ').nth(2).unwrap().to_owned()
}

impl Report {
    pub fn assert_holds(&self) {
        for store in &self.stores {
            store.assert_holds();
        }
    }
}

impl StoreReport {
    fn assert_holds(&self) {
        let name = self.name;
        let unexpected = &self.counted.unexpected;
        assert!(unexpected.is_empty(), "{name}: {} unexpected, such as {}", unexpected.len(), unexpected[0]);
        let differences = &self.differences;
        assert!(differences.is_empty(), "{name}: {} differences: {:#?}", differences.len(), first(differences));
        assert_eq!(self.errors, 0, "{name}: errors are logged");
        let grown = |of: fn(&Sample) -> &[u64], limit: u64, what: &str| {
            for (server, (before, after)) in self.thirds(of).into_iter().enumerate() {
                assert!(after <= before + limit, "{name}, server {server}: {what} grew from {before} to {after}");
            }
        };
        grown(|sample| &sample.memory, MEMORY_GROWTH, "memory");
        grown(|sample| &sample.descriptors, DESCRIPTOR_GROWTH, "descriptors");
    }

    /// The medians in the first and the last third, for each server.
    fn thirds(&self, of: impl Fn(&Sample) -> &[u64]) -> Vec<(u64, u64)> {
        let third = (self.samples.len() / 3).max(1);
        let (first, last) = (&self.samples[..third], &self.samples[self.samples.len() - third..]);
        let at = |samples: &[Sample], server: usize| {
            let mut values: Vec<_> = samples.iter().map(|sample| of(sample)[server]).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        (0..of(&self.samples[0]).len()).map(|server| (at(first, server), at(last, server))).collect()
    }

    /// The rows of the table: what, and its value.
    fn rows(&self) -> Vec<(String, String)> {
        let counted = &self.counted;
        let operations = counted.operations();
        let rate = operations as f64 / self.elapsed.as_secs_f64();
        let mut rows = vec![
            ("operations".to_owned(), thousands(operations as u64)),
            ("operations/s".to_owned(), format!("{rate:.0}")),
            ("an operation began late by at most".to_owned(), format!("{} ms", counted.behind.as_millis())),
            ("unexpected responses".to_owned(), thousands(counted.unexpected.len() as u64)),
            ("differences to the database".to_owned(), thousands(self.differences.len() as u64)),
        ];
        let sum = |counts: &CountsByKey, kind: &str| {
            let own = counts.iter().filter(|((_, own), _)| own == kind);
            thousands(own.map(|(_, count)| *count as u64).sum())
        };
        for verdict in ["VALID", "REVOKED"] {
            rows.push((format!("usage: {verdict}"), sum(&counted.usage, verdict)));
        }
        for action in ["created", "rotated", "updated", "revoked"] {
            rows.push((format!("audit: {action}"), sum(&counted.events, action)));
        }
        for (operation, thirds) in &counted.times {
            let name = operation.name();
            rows.push((format!("{name}: p50, p99"), format!("{} → {}", times(&thirds[0]), times(&thirds[2]))));
        }
        for (server, (before, after)) in self.thirds(|sample| &sample.memory).into_iter().enumerate() {
            rows.push((format!("memory of server {}", server + 1), change(before, after, mebibytes)));
        }
        for (server, (before, after)) in self.thirds(|sample| &sample.descriptors).into_iter().enumerate() {
            rows.push((format!("descriptors of server {}", server + 1), change(before, after, thousands)));
        }
        let (first, last) = (&self.samples[0], self.samples.last().unwrap());
        rows.push(("database, start and end".to_owned(), change(first.database, last.database, mebibytes)));
        let largest = self.samples.iter().map(|sample| sample.write_ahead_log).max().unwrap();
        rows.push(("write-ahead log, at most".to_owned(), mebibytes(largest)));
        rows
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.settings.time.as_secs_f64() / 60.0;
        let rate = self.settings.rate;
        writeln!(f, "{}, {} after; {minutes} minutes, {rate} operations/s on each store.", self.machine, load())?;
        writeln!(f, "An arrow leads from the first to the last third of the time.\n")?;
        let [sqlite, postgres] = &self.stores;
        writeln!(f, "| | {} | {} |\n|---|---|---|", sqlite.name, postgres.name)?;
        let values: BTreeMap<_, _> = sqlite.rows().into_iter().collect();
        for (what, value) in postgres.rows() {
            writeln!(f, "| {what} | {} | {value} |", values.get(&what).map_or("", String::as_str))?;
        }
        Ok(())
    }
}

fn first(differences: &[String]) -> &[String] {
    &differences[..differences.len().min(5)]
}

fn change(before: u64, after: u64, format: fn(u64) -> String) -> String {
    format!("{} → {}", format(before), format(after))
}

/// The median and the 99th percentile.
fn times(micros: &[u32]) -> String {
    let mut sorted = micros.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let micros = sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
        format!("{:.1}", f64::from(micros) / 1000.0)
    };
    format!("{}, {} ms", at(50), at(99))
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(",")
}
