//! Report: the results as tables on the terminal, as a JSON file, and as a part of docs/performance.md.

use std::fmt::Write;
use std::path::Path;

use mintkey::domain::clock::Clock;
use serde::Serialize;

use super::load::{Measured, Round};

/// A promise, and whether this run met it.
#[derive(Debug, Clone, Serialize)]
pub struct Promise {
    pub text: String,
    pub met: bool,
}

impl Promise {
    fn cell(promise: Option<&Self>) -> String {
        promise.map_or_else(String::new, |promise| {
            format!("{}: {}", promise.text, if promise.met { "met" } else { "**missed**" })
        })
    }
}

/// One operation under load.
#[derive(Debug, Clone, Serialize)]
pub struct Speed {
    pub what: String,
    pub store: &'static str,
    pub connections: usize,
    /// Requests a second.
    pub rate: f64,
    /// Seconds.
    pub p50: f64,
    pub p99: f64,
    /// The baseline of the ratio.
    pub against: Option<&'static str>,
    pub ratio: Option<f64>,
    pub promise: Option<Promise>,
}

/// One operation on databases of increasing size.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    pub what: String,
    pub keys: Vec<u64>,
    /// Requests a second.
    pub rates: Vec<f64>,
    /// Slowdown relative to the smallest database.
    pub slower: Vec<f64>,
    pub promise: Promise,
}

#[derive(Debug, Clone, Serialize)]
pub struct Fact {
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    pub promise: Option<Promise>,
}

/// One alternative service, on SQLite, at 64 connections.
#[derive(Debug, Clone, Serialize)]
pub struct Peer {
    pub name: &'static str,
    pub verify: Comparison,
    pub create: Comparison,
}

/// One operation of one service, compared with mintkey.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Requests a second.
    pub rate: f64,
    /// Seconds.
    pub p99: f64,
    /// The speed of mintkey relative to this service.
    pub times: Option<f64>,
    pub promise: Option<Promise>,
}

/// The machine and the date of the run.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub kernel: String,
    pub date: String,
}

impl Machine {
    pub fn here() -> Self {
        let line = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).unwrap();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            line.split_once(':').unwrap_or_default().1.trim().to_owned()
        };
        let memory: u64 = line("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap();
        Self {
            processor: line("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().unwrap().get(),
            memory_gib: (memory + (1 << 19)) >> 20,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim().to_owned(),
            date: Clock::System.now().date_naive().to_string(),
        }
    }
}

/// The results of one run. Its name is that of the JSON file and of its part of docs/performance.md.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(skip)]
    pub name: &'static str,
    pub machine: Machine,
    pub seconds: u64,
    pub rounds: usize,
    pub speed: Vec<Speed>,
    pub growth: Vec<Growth>,
    pub footprint: Vec<Fact>,
    pub peers: Vec<Peer>,
}

impl Report {
    pub fn text(&self) -> String {
        let Machine { processor, cores, memory_gib, kernel, date } = &self.machine;
        let mut text = format!(
            "{processor}, {cores} cores, {memory_gib} GiB, Linux {kernel}, {date}; the median of {} rounds of {} s.\n",
            self.rounds, self.seconds
        );
        if !self.speed.is_empty() {
            let head = ["", "store", "connections", "requests/s", "p50", "p99", "ratio", "promised"];
            push_table(&mut text, &head.map(str::to_owned), self.speed.iter().map(Speed::cells));
        }
        if let Some(first) = self.growth.first() {
            let sizes = first.keys.iter().map(|keys| format!("{} keys", thousands(*keys as f64)));
            let head: Vec<_> = ["".to_owned()].into_iter().chain(sizes).chain(["promised".to_owned()]).collect();
            push_table(&mut text, &head, self.growth.iter().map(Growth::cells));
        }
        if !self.footprint.is_empty() {
            push_table(&mut text, &["", "", "promised"].map(str::to_owned), self.footprint.iter().map(Fact::cells));
        }
        if !self.peers.is_empty() {
            let head = ["", "verify/s", "p99", "mintkey is", "create/s", "p99", "mintkey is"];
            push_table(&mut text, &head.map(str::to_owned), self.peers.iter().map(Peer::cells));
        }
        text
    }

    pub fn write(&self, directory: &Path) {
        let json = serde_json::to_string_pretty(self).unwrap();
        let file = directory.join(format!("{}.json", self.name));
        std::fs::write(&file, json + "\n").unwrap();
        println!("{}\nThe same as JSON: {}", self.text(), file.display());
    }

    /// Replaces the tables between the two marker comments in this page.
    pub fn write_tables(&self, page: &Path) {
        let text = std::fs::read_to_string(page).unwrap();
        let (begin, end) =
            (format!("<!-- {}: written by make -->\n", self.name), format!("<!-- {}: end -->", self.name));
        let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{} has no {begin}", page.display()));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{} has no {end}", page.display()));
        std::fs::write(page, format!("{before}{begin}{}{end}{after}", self.text())).unwrap();
    }
}

impl Speed {
    pub fn of(what: &str, store: &'static str, connections: usize, measured: &Measured) -> Self {
        let Round { rate, p50, p99, .. } = measured.median();
        let what = what.to_owned();
        Self { what, store, connections, rate, p50, p99, against: None, ratio: None, promise: None }
    }

    pub fn against(self, what: &'static str, ratio: f64) -> Self {
        Self { against: Some(what), ratio: Some(ratio), ..self }
    }

    /// Adds a promise on the ratio.
    pub fn at_least(self, least: f64) -> Self {
        let text = format!("at least {least:.2} of {}", self.against.unwrap_or_default());
        let met = self.ratio.is_some_and(|ratio| ratio >= least);
        Self { promise: Some(Promise { text, met }), ..self }
    }

    /// Adds a promise on the rate.
    pub fn at_least_a_second(self, least: f64) -> Self {
        let text = format!("at least {}/s", thousands(least));
        Self { promise: Some(Promise { text, met: self.rate >= least }), ..self }
    }

    fn cells(&self) -> Vec<String> {
        let ratio = self.against.zip(self.ratio).map(|(what, ratio)| format!("{ratio:.2} of {what}"));
        vec![
            self.what.clone(),
            self.store.to_owned(),
            self.connections.to_string(),
            thousands(self.rate),
            milliseconds(self.p50),
            milliseconds(self.p99),
            ratio.unwrap_or_default(),
            Promise::cell(self.promise.as_ref()),
        ]
    }
}

impl Growth {
    fn cells(&self) -> Vec<String> {
        let sizes = self.rates.iter().zip(&self.slower);
        let sizes = sizes.map(|(rate, slower)| format!("{}/s ({slower:.2}x)", thousands(*rate)));
        [self.what.clone()].into_iter().chain(sizes).chain([Promise::cell(Some(&self.promise))]).collect()
    }
}

impl Peer {
    fn cells(&self) -> Vec<String> {
        let comparison = |comparison: &Comparison| {
            let times = comparison.times.map(|times| format!("{times:.0}x as fast"));
            let last = times.unwrap_or_else(|| Promise::cell(comparison.promise.as_ref()));
            [thousands(comparison.rate), milliseconds(comparison.p99), last]
        };
        [self.name.to_owned()].into_iter().chain(comparison(&self.verify)).chain(comparison(&self.create)).collect()
    }
}

impl Fact {
    fn cells(&self) -> Vec<String> {
        let digits = if self.value < 10.0 { 3 } else { 0 };
        vec![self.what.clone(), format!("{:.digits$} {}", self.value, self.unit), Promise::cell(self.promise.as_ref())]
    }
}

/// Appends a Markdown table that is also readable in a terminal.
fn push_table(text: &mut String, head: &[String], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<_> = rows.collect();
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).chain([head[n].chars().count()]).max();
    let widths: Vec<_> = (0..head.len()).map(|n| width(n).unwrap_or_default()).collect();
    text.push('\n');
    let mut push = |cells: &[String]| {
        for (cell, width) in cells.iter().zip(&widths) {
            write!(text, "| {cell:width$} ").unwrap();
        }
        text.push_str("|\n");
    };
    push(head);
    push(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>());
    rows.iter().for_each(|row| push(row));
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.2} ms", seconds * 1e3)
}

/// Formats `1234567.8` as `1,234,568`.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let first = digits.len() % 3;
    let mut groups: Vec<_> = digits.as_bytes()[first..].chunks(3).map(String::from_utf8_lossy).collect();
    if first > 0 {
        groups.insert(0, digits[..first].into());
    }
    groups.join(",")
}
