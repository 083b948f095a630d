//! Revocation log: exports what revoked or restricted keys, and applies it to a database restored from an older backup.
//!
//! A restored backup accepts keys that were revoked after it was taken. The log is kept with the backups, not in the
//! database. It is read by position, not by time: clocks differ and go back. An entry names its audit event, so that one
//! which the backup contains has no effect, and an export may contain more than needed. Every audit action must map to an [`Effect`]; the match in [`effect_of`] fails to compile for a new one.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cli::{CommandError, print_output};
use crate::domain::access::AccessFilter;
use crate::domain::audit::{Action, AuditContext};
use crate::domain::precondition::Precondition;
use crate::domain::text_encoding::check_text_encoding;
use crate::service::audit::CommittedChange;
use crate::service::keys::{KeyPatch, RevocationRequest};
use crate::service::{ServiceError, Services};

/// One line of the log.
#[derive(Serialize, Deserialize)]
struct RevocationLogEntry {
    /// By the clock of the server that made the change.
    at: DateTime<Utc>,
    event_id: Uuid,
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
        // Each key that it revokes has an event of its own.
        Action::BulkRevocationStarted | Action::BulkRevocationEnded => Effect::None,
        Action::Updated | Action::Disabled => Effect::Disable,
        Action::Revoked | Action::Rotated => Effect::Revoke,
        Action::Deleted => Effect::Delete,
    }
}

/// Prints the position from which a backup that begins later needs the log.
pub async fn print_position(services: &Services) -> Result<(), CommandError> {
    print_output(services.audit.position().await?)
}

/// Prints the entries after this position, or all, in order, one JSON object per line.
pub async fn export_revocations(services: &Services, since: Option<i64>) -> Result<(), CommandError> {
    if let Some(since) = since {
        let position = services.audit.position().await?;
        if since > position {
            return Err(format!(
                "--since {since} is later than the position of this database, {position}: it was printed for another \
                 database, or before a restore; take a new backup, or leave --since out to export all revocations"
            )
            .into());
        }
    }
    let mut after = (since.unwrap_or(i64::MIN), Uuid::max());
    loop {
        let page = services.audit.list_changes(after, 1000).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = (last.position, last.event_id);
        for CommittedChange { event_id, at, action, key_id, .. } in page {
            let Some(key_id) = key_id else { continue };
            // An action of a newer version is exported; applying it fails and names it.
            if Action::parse(&action).map(effect_of) != Some(Effect::None) {
                let entry = RevocationLogEntry { at, event_id, key_id, action };
                writeln!(std::io::stdout(), "{}", serde_json::to_string(&entry)?)?;
            }
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
    let [mut revoked, mut disabled, mut unknown, mut contained] = [0, 0, 0, 0];
    for (number, line) in log.split(b'\n').enumerate() {
        let failed = |error: &dyn std::fmt::Display| format!("line {}: {error}", number + 1);
        let line = line?;
        check_text_encoding(&line).map_err(|rule| failed(&format!("it {rule}")))?;
        let entry: RevocationLogEntry = serde_json::from_slice(&line).map_err(|error| failed(&error))?;
        let action = Action::parse(&entry.action).ok_or_else(|| {
            failed(&format!("unknown action {:?}; apply the log with the version that exported it", entry.action))
        })?;
        if services.audit.has_change(entry.event_id).await.map_err(|error| failed(&error))? {
            contained += 1;
            continue;
        }
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
        "{revoked} entries revoked a key, {disabled} disabled a key, {unknown} name a key that does not exist here, \
         {contained} are changes that this database has"
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
