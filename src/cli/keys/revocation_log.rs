//! Revocation log: exports what revoked or restricted keys, and applies it to a database restored from an older backup.
//!
//! A restored backup accepts keys that were revoked after it was taken. The log is kept with the backups, not in the
//! database. Every audit action must map to an [`Effect`]; the match in [`effect_of`] fails to compile for a new one.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cli::CommandError;
use crate::domain::access::AccessFilter;
use crate::domain::audit::{Action, AuditContext};
use crate::domain::precondition::Precondition;
use crate::service::audit::EventFilter;
use crate::service::keys::{KeyPatch, RevocationRequest};
use crate::service::{ServiceError, Services};

/// One line of the log.
#[derive(Serialize, Deserialize)]
struct RevocationLogEntry {
    at: DateTime<Utc>,
    key_id: Uuid,
    action: String,
}

/// How an action is applied to a restored database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Not exported: the action neither revoked nor restricted the key.
    None,
    /// A rotated key is revoked, too: the backup has its old secret, which must stop working, and not its new one.
    Revoke,
    Delete,
    /// Other changes disable the key until an operator has checked it.
    Disable,
}

const fn effect_of(action: Action) -> Effect {
    match action {
        Action::Created | Action::Enabled | Action::Refused => Effect::None,
        Action::Updated | Action::Disabled => Effect::Disable,
        Action::Revoked | Action::Rotated => Effect::Revoke,
        Action::Deleted => Effect::Delete,
    }
}

/// Margin before the requested time: an event is committed a moment after its timestamp, and replicas' clocks differ.
const EXPORT_MARGIN: TimeDelta = TimeDelta::minutes(1);

/// Prints the entries since then, newest first, one JSON object per line.
pub async fn export_revocations(services: &Services, since: DateTime<Utc>) -> Result<(), CommandError> {
    let mut after = None;
    loop {
        let page = services.audit.list(AccessFilter::Any, &EventFilter::default(), after, 100).await?;
        for event in page.items {
            if event.at < since - EXPORT_MARGIN {
                return Ok(());
            }
            let Some(key_id) = event.key_id else { continue };
            // An action of a newer version is exported; applying it fails and names it.
            if Action::parse(&event.action).map(effect_of) != Some(Effect::None) {
                let entry = RevocationLogEntry { at: event.at, key_id, action: event.action };
                writeln!(std::io::stdout(), "{}", serde_json::to_string(&entry)?)?;
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Opens a log; `-` is standard input.
pub fn open_log(path: &Path) -> Result<Box<dyn BufRead>, CommandError> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Applies each entry and returns a summary. Applying a log again changes nothing more, except that it disables keys again
/// that their owners have enabled since.
pub async fn apply_revocations(
    services: &Services,
    audit: &AuditContext<'_>,
    log: impl BufRead,
) -> Result<String, CommandError> {
    let [mut revoked, mut disabled, mut unknown] = [0, 0, 0];
    for (number, line) in log.lines().enumerate() {
        let failed = |error: &dyn std::fmt::Display| format!("line {}: {error}", number + 1);
        let entry: RevocationLogEntry = serde_json::from_str(&line?).map_err(|error| failed(&error))?;
        let action = Action::parse(&entry.action).ok_or_else(|| {
            failed(&format!("unknown action {:?}; apply the log with the version that exported it", entry.action))
        })?;
        let effect = effect_of(action);
        match apply_effect(services, audit, &entry, effect).await {
            Ok(()) if effect == Effect::Disable => disabled += 1,
            Ok(()) => revoked += 1,
            // Created after the backup: the restored database does not accept it.
            Err(ServiceError::NotFound) => unknown += 1,
            // Revoked already, by an earlier entry or before the backup.
            Err(ServiceError::Conflict(_)) => {}
            Err(error) => return Err(failed(&error).into()),
        }
    }
    Ok(format!(
        "{revoked} entries revoked a key, {disabled} disabled a key, {unknown} name a key that does not exist here"
    ))
}

async fn apply_effect(
    services: &Services,
    audit: &AuditContext<'_>,
    entry: &RevocationLogEntry,
    effect: Effect,
) -> Result<(), ServiceError> {
    // The log has entries of its own for the descendants that were revoked with a key.
    let (access, id) = (AccessFilter::Any, entry.key_id);
    match effect {
        Effect::None => Ok(()),
        Effect::Delete => services.keys.delete(audit, access, id, Some(false), &Precondition::None).await.map(|_| ()),
        Effect::Revoke => {
            let reason = format!("{} at {}, after the restored backup", entry.action, entry.at.to_rfc3339());
            let request = RevocationRequest { reason: Some(reason), descendants: Some(false) };
            services.keys.revoke(audit, access, id, request, &Precondition::None).await.map(|_| ())
        }
        Effect::Disable => {
            let disable = KeyPatch { enabled: Some(false), ..KeyPatch::default() };
            services.keys.update(audit, access, id, disable, &Precondition::None).await.map(|_| ())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_that_changes_or_ends_a_key_is_exported() {
        let exported = Action::ALL.into_iter().filter(|action| effect_of(*action) != Effect::None);
        let expected = [Action::Updated, Action::Disabled, Action::Rotated, Action::Revoked, Action::Deleted];
        assert_eq!(exported.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn parse_action_reads_what_the_audit_writes() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.as_str()), Some(action));
        }
        assert_eq!(Action::parse("transferred"), None);
    }
}
