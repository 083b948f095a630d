//! `mintkey keys revoke-matching`: revokes every key that a filter matches, as a job that the server would continue.

use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::cli::CommandError;
use crate::cli::keys::output::{print_job, print_key_count};
use crate::cli::keys::parse_identifier;
use crate::domain::access::AdminAccess;
use crate::domain::audit::AuditContext;
use crate::domain::key_name::KeyName;
use crate::domain::revocation_job::{RevocationFilter, RevocationJob};
use crate::domain::timestamp::parse_timestamp;
use crate::service::Services;
use crate::service::keys::RevocationRequest;

#[derive(Args)]
pub struct RevokeMatchingArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Reason, stored with each revocation.
    #[arg(long, value_parser = KeyName::new)]
    reason: Option<KeyName>,
    /// Revoke the keys that they created, too, those that these created, and so on [default: --revoke-descendants]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    descendants: Option<bool>,
    /// Count the matching keys without revoking them.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct FilterArgs {
    /// Only keys of owners with this subject, of any issuer and organization.
    #[arg(long, value_name = "SUBJECT", value_parser = parse_identifier)]
    owner: Option<String>,
    /// Only keys of owners with this issuer.
    #[arg(long, value_parser = parse_identifier)]
    issuer: Option<String>,
    /// Only keys of owners with this organization.
    #[arg(long, value_parser = parse_identifier)]
    organization: Option<String>,
    /// Only keys that this key created.
    #[arg(long, value_name = "ID")]
    created_by_key: Option<Uuid>,
    /// Only keys created before this time, such as 2026-11-23T04:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_timestamp)]
    created_before: Option<DateTime<Utc>>,
}

/// The time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub async fn revoke_matching(
    services: &Services,
    audit: &AuditContext<'_>,
    args: RevokeMatchingArgs,
    json: bool,
) -> Result<(), CommandError> {
    let RevokeMatchingArgs { filter, reason, descendants, dry_run } = args;
    let FilterArgs { owner, issuer, organization, created_by_key, created_before } = filter;
    let filter = RevocationFilter { issuer, subject: owner, organization, created_by_key, created_before };
    let jobs = &services.revocation_jobs;
    if dry_run {
        return print_key_count(&jobs.count(audit.caller, AdminAccess::Any, &filter, descendants).await?, json);
    }
    // Before the job is recorded: a signal must not end the process without a word.
    let stop = stop_signal()?;
    let request = RevocationRequest { reason: reason.map(|reason| reason.as_str().to_owned()), descendants };
    let job = jobs.record(audit, AdminAccess::Any, filter, request).await?;
    let id = job.id;
    report(&format!("job {id} is recorded"));
    let last_report = Cell::new(Instant::now());
    let progress = |job: &RevocationJob| {
        if last_report.get().elapsed() >= PROGRESS_INTERVAL {
            last_report.set(Instant::now());
            report(&format!("{} keys examined, {} revoked", job.examined, job.revoked));
        }
    };
    let job = jobs.run_one(job, stop, progress).await;
    let job = job.map_err(|error| format!("{error}; `mintkey serve` continues job {id}"))?;
    if job.completed_at.is_none() {
        let RevocationJob { examined, revoked, .. } = job;
        return Err(format!(
            "interrupted after {examined} keys were examined and {revoked} revoked; `mintkey serve` continues job {id}, \
             unless an administrator cancels it"
        )
        .into());
    }
    print_job(job, json)
}

/// Returns what waits for the signals that end a command.
fn stop_signal() -> Result<impl Future<Output = ()>, CommandError> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Prints a line on standard error. An error does not matter: it is for a person who watches.
fn report(line: &str) {
    let _unread = writeln!(std::io::stderr(), "{line}");
}
