//! Checks of the host: file descriptors and the clock.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use rustix::process::{Resource, getrlimit};

use crate::cli::doctor::CheckResult;
use crate::config::{CLOCK_TOLERANCE, ServeSettings};
use crate::server::RESERVED_FDS;
use crate::store::DatabaseReport;

pub fn check_descriptors(serve: &ServeSettings) -> CheckResult {
    // The server raises its soft limit to the hard limit.
    let limit = getrlimit(Resource::Nofile).maximum;
    let needed = u64::from(serve.max_connections) + RESERVED_FDS;
    match limit {
        Some(limit) if limit < needed => Err(format!(
            "the limit here is {limit}, and {needed} are needed; raise it (LimitNOFILE= in a systemd unit, `ulimit -n` in a \
             shell), or lower --max-connections (MINTKEY_MAX_CONNECTIONS) to {}",
            limit.saturating_sub(RESERVED_FDS)
        )),
        _ => Ok(format!("enough for {} connections", serve.max_connections)),
    }
}

/// An earlier time is wrong: this version did not exist.
const RELEASED: &str = "2026-11-01T00:00:00Z";

/// Compares the clock with the version, the file of the database, and the clock of PostgreSQL, which stands for those of
/// other replicas.
pub fn check_clock(
    now: DateTime<Utc>,
    database: Option<&Path>,
    report: &Result<DatabaseReport, String>,
) -> CheckResult {
    let postgres = report.as_ref().ok().and_then(|report| report.postgres.as_ref());
    let offset = postgres.map_or(TimeDelta::zero(), |postgres| postgres.clock_offset);
    let shown = now.format("%F %T UTC");
    let wrong = |reason: &str| {
        Err(format!(
            "it shows {shown}, {reason}; keys and tokens would expire at wrong times: synchronize the clock (NTP)"
        ))
    };
    let modified = database.and_then(|file| file.metadata().ok()?.modified().ok()).map(DateTime::<Utc>::from);
    if RELEASED.parse::<DateTime<Utc>>().is_ok_and(|released| now < released) {
        wrong("which is before this version was released")
    } else if modified.is_some_and(|modified| now + TimeDelta::minutes(5) < modified) {
        wrong("and the database was last changed later than that")
    } else if offset.abs() > CLOCK_TOLERANCE {
        let (seconds, direction) =
            (offset.abs().num_seconds(), if offset > TimeDelta::zero() { "ahead" } else { "behind" });
        wrong(&format!("and the clock of PostgreSQL is {seconds} seconds {direction}"))
    } else {
        Ok(format!("it shows {shown}"))
    }
}
