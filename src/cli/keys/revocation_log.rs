//! Journal: what ended or narrowed keys, kept apart from the database, so that a backup that is restored does not bring
//! back what was ended after it.

use std::io::{BufRead, Write};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cli::Failure;
use crate::domain::access::AccessFilter;
use crate::domain::audit::{Action, AuditContext};
use crate::domain::precondition::Precondition;
use crate::service::audit::EventFilter;
use crate::service::keys::KeyPatch;
use crate::service::{Service, ServiceError};

/// One line.
#[derive(Serialize, Deserialize)]
struct Entry {
    at: DateTime<Utc>,
    key_id: Uuid,
    action: String,
}

/// A change is written a moment after the time that it bears, and the clocks of replicas differ.
const MARGIN: TimeDelta = TimeDelta::minutes(1);

/// Prints the entries since then, newest first, one JSON object a line.
pub async fn print(service: &Service, since: DateTime<Utc>) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = service.list_events(AccessFilter::Any, &EventFilter::default(), after, 100).await?;
        for event in page.events {
            if event.at < since - MARGIN {
                return Ok(());
            }
            if ![Action::Created, Action::Enabled].map(Action::as_str).contains(&event.action.as_str()) {
                let entry = Entry { at: event.at, key_id: event.key_id, action: event.action };
                writeln!(std::io::stdout(), "{}", serde_json::to_string(&entry)?)?;
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Ends what the journal says was ended. A key that was rotated is revoked: its new secret is not in the backup, and its
/// old one was to end. One that was changed otherwise is disabled, until somebody has looked at it.
pub async fn replay(service: &Service, audit: &AuditContext<'_>, journal: impl BufRead) -> Result<String, Failure> {
    let [mut ended, mut disabled, mut unknown] = [0, 0, 0];
    for (number, line) in journal.lines().enumerate() {
        let entry: Entry = serde_json::from_str(&line?).map_err(|error| format!("line {}: {error}", number + 1))?;
        let (access, id) = (AccessFilter::Any, entry.key_id);
        let is = |action: Action| entry.action == action.as_str();
        let reason =
            || Some(format!("{} at {}, after the backup that was restored", entry.action, entry.at.to_rfc3339()));
        let outcome = if is(Action::Deleted) {
            service.delete_key(audit, access, id).await.map(|()| &mut ended)
        } else if is(Action::Revoked) || is(Action::Rotated) {
            service.revoke_key(audit, access, id, reason()).await.map(|_| &mut ended)
        } else {
            let disable = KeyPatch { enabled: Some(false), ..KeyPatch::default() };
            service.update_key(audit, access, id, disable, &Precondition::None).await.map(|_| &mut disabled)
        };
        match outcome {
            Ok(count) => *count += 1,
            // Made after the backup, so that nobody has it any more.
            Err(ServiceError::NotFound) => unknown += 1,
            // Ended already, and that is for good.
            Err(ServiceError::Conflict { .. }) => {}
            Err(error) => return Err(format!("line {}: {error}", number + 1).into()),
        }
    }
    Ok(format!(
        "{ended} entries ended their keys, {disabled} disabled theirs, {unknown} were of keys that are not here"
    ))
}
