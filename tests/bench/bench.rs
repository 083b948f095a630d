//! Bench: the speed of mintkey relative to baselines on the same machine. `make bench` and `make bench-peers` run it.
//!
//! The server has one core, the load generator the other. Every figure is the median of rounds in which mintkey and its
//! baseline take turns; ratios are computed within a round. An unexpected response ends the run, because errors are
//! faster than successes. Slow results do not fail: the report shows each promise and whether it was met.

mod bare;
mod footprint;
mod growth;
mod load;
mod peers;
mod place;
#[expect(dead_code, reason = "shared with the tests, which also stop and freeze it")]
#[path = "../support/postgres.rs"]
mod postgres;
mod process;
mod report;
mod speed;

use std::cell::LazyCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::{Parser, Subcommand, ValueEnum};
use load::Pace;
use postgres::Postgres;
use report::{Machine, Report};
use speed::Store;

#[derive(Parser)]
struct Options {
    /// Seconds per round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Number of rounds; the median is reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Keys in the largest database of the growth table; ten million take 10 GB of disk.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    keys: u64,
    /// Measure only mintkey and its peers.
    #[arg(long)]
    peers: bool,
    /// Measure only this part [default: all].
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Write the tables into docs/performance.md.
    #[arg(long)]
    docs: bool,
    /// Passed by cargo to every bench.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    other: Option<Other>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    Warm,
    Cold,
    Create,
    Growth,
    Footprint,
}

#[derive(Subcommand)]
enum Other {
    /// Serve the baseline handlers.
    Bare(bare::Bare),
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    match options.other {
        Some(Other::Bare(bare)) => bare::run(bare).await,
        None => measure(&options).await,
    }
}

async fn measure(options: &Options) {
    let pace = Pace { seconds: options.seconds, rounds: options.rounds as usize };
    let mut report = Report {
        name: if options.peers { "peers" } else { "bench" },
        machine: Machine::here(),
        seconds: options.seconds,
        rounds: pace.rounds,
        speed: Vec::new(),
        growth: Vec::new(),
        footprint: Vec::new(),
        peers: Vec::new(),
    };
    assert!(report.machine.cores > 1, "the server and the load generator need a core each");
    if options.peers {
        report.peers = peers::measured(pace).await;
    }
    let postgres = LazyCell::new(|| Postgres::start(&[]));
    let parts = Part::value_variants().iter().filter(|part| options.only.is_empty() || options.only.contains(part));
    for part in parts.filter(|_| !options.peers) {
        eprintln!("measuring: {part:?}");
        match part {
            Part::Warm => report.speed.extend(speed::warm(pace).await),
            Part::Cold => {
                for store in [Store::Sqlite, Store::Postgres(&postgres)] {
                    report.speed.extend(speed::cold(pace, store).await);
                }
            }
            Part::Create => {
                for store in [Store::Sqlite, Store::Postgres(&postgres)] {
                    report.speed.extend(speed::creates(pace, store).await);
                }
            }
            Part::Growth => report.growth = growth::measured(pace, options.keys).await,
            Part::Footprint => report.footprint = footprint::measured(&postgres).await,
        }
    }
    report.write(&target());
    if options.docs {
        report.write_tables(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md"));
    }
}

/// The directory of results and databases. Not in `/tmp`, which may not be on a disk.
fn target() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run make tools"))
}
