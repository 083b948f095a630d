//! Rotate: replaces a key's secret. The old one keeps working for the grace period, so that its users can switch.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyRecord, KeyStatus};
use crate::domain::audit::{Action, AuditContext};
use crate::domain::authority::{KeyAction, authorize};
use crate::domain::caller::CallingKey;
use crate::domain::precondition::Precondition;
use crate::service::errors::{ConflictReason, ServiceError};
use crate::service::idempotency::IdempotentRequest;
use crate::service::keys::{IssuedKey, KeyService, NewSecret, ensure_current, or_not_found};
use crate::store::{ChangeOutcome, KeyChange, LockedKey};

/// A rotation as requested.
pub(super) struct Rotation {
    pub secret: NewSecret,
    /// Time for which the old secret keeps working.
    pub grace: TimeDelta,
    /// The id of the newest secret when the request began. If it is another one once the key is locked, a concurrent
    /// request has rotated the key meanwhile, and this rotation fails.
    pub replaces: Option<Uuid>,
}

impl KeyService {
    /// Issues a new secret. Never prolongs anything: the key's expiry stays, and the old secret expires at the end of the
    /// grace period or with the key.
    ///
    /// With an idempotent request that was completed before, returns its response, without checking the precondition:
    /// that rotation changed the revision itself (RFC 9110, section 13.1.1, allows this).
    pub async fn rotate(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        grace: TimeDelta,
        precondition: &Precondition,
        request: Option<IdempotentRequest>,
    ) -> Result<IssuedKey, ServiceError> {
        let result = self.rotate_or_replay(audit, access, id, grace, precondition, request).await;
        self.record_refusal(audit, "rotate", Some(id), result).await
    }

    async fn rotate_or_replay(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        grace: TimeDelta,
        precondition: &Precondition,
        request: Option<IdempotentRequest>,
    ) -> Result<IssuedKey, ServiceError> {
        let seen = self.store.find_key(access, id).await?;
        let replaces = seen.as_ref().and_then(newest_secret);
        let rotation = Rotation { secret: self.mint(audit.at)?, grace, replaces };
        let calling_key = CallingKey::of(audit.caller, &self.clock);
        let apply = |locked: LockedKey| {
            ensure_current(calling_key.as_ref(), &locked)?;
            let record = or_not_found(locked.record)?;
            precondition.check(&record.key)?;
            rotate(record, rotation, audit)
        };
        let calling_id = calling_key.as_ref().map(|key| key.id);
        let (record, issued) = match &request {
            None => self.store.change_key(access, id, calling_id, apply).await??,
            Some(request) => {
                let apply = |locked| {
                    let (change, issued) = apply(locked)?;
                    let responses = request.seal(&issued, audit.at)?;
                    Ok((change, issued, responses))
                };
                match self
                    .store
                    .change_key_once(access, id, calling_id, &request.response_ids(), audit.at, apply)
                    .await?
                {
                    ChangeOutcome::Applied { record, value } => (record, value),
                    ChangeOutcome::Replayed(saved) => return self.replay(audit, request.open(&saved)?).await,
                    ChangeOutcome::Rejected(error) => return Err(error),
                }
            }
        };
        self.invalidate_secrets(&record);
        Ok(issued)
    }
}

/// Replaces the newest secret of a key.
pub(super) fn rotate(
    mut record: KeyRecord,
    rotation: Rotation,
    audit: &AuditContext<'_>,
) -> Result<(KeyChange, IssuedKey), ServiceError> {
    ensure_active(&record.key, audit.at)?;
    ensure_not_rotating(&record, rotation.replaces, audit.at)?;
    authorize(audit.caller, KeyAction::Rotate(&record.key))?;

    let NewSecret { secret, record: new } = rotation.secret;
    let grace_end = audit.at + rotation.grace;
    let old_secret_expires_at = record.key.expires_at.map_or(grace_end, |expiry| expiry.min(grace_end));
    for old in record.secrets.iter_mut().filter(|old| old.is_live(audit.at)) {
        old.expires_at = Some(old.expires_at.map_or(old_secret_expires_at, |expiry| expiry.min(old_secret_expires_at)));
    }
    record.key.start.clone_from(&new.start);
    record.key.last4.clone_from(&new.last4);
    record.key.updated_at = audit.at;
    record.key.revision += 1;
    record.secrets.insert(0, new);
    let changes = json!({
        "start": record.key.start,
        "last4": record.key.last4,
        "old_secret_expires_at": old_secret_expires_at,
    });
    let event = audit.event(Action::Rotated, &record.key, changes);
    let issued = IssuedKey { key: record.key.clone(), secret, replayed: false };
    Ok((KeyChange::new(record, event), issued))
}

fn newest_secret(record: &KeyRecord) -> Option<Uuid> {
    record.secrets.first().map(|secret| secret.id)
}

fn ensure_active(key: &ApiKey, now: DateTime<Utc>) -> Result<(), ServiceError> {
    match key.status(now) {
        KeyStatus::Active => Ok(()),
        status @ (KeyStatus::Revoked | KeyStatus::Disabled | KeyStatus::Expired) => {
            Err(ServiceError::Conflict(ConflictReason::KeyNotActive(status)))
        }
    }
}

/// Rejects a rotation during the grace period of another, which would leave three secrets or cut a promised grace
/// period short, and a rotation that lost against a concurrent one.
fn ensure_not_rotating(record: &KeyRecord, replaces: Option<Uuid>, now: DateTime<Utc>) -> Result<(), ServiceError> {
    if record.live_secrets(now).count() > 1 || newest_secret(record) != replaces {
        let until = record.live_secrets(now).filter_map(|secret| secret.expires_at).min();
        return Err(ServiceError::Conflict(ConflictReason::RotationInProgress(until)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::RequestSource;
    use crate::domain::authority::MissingRight;
    use crate::domain::caller::{Caller, Credential};
    use crate::domain::secret::{Entropy, Secret};
    use crate::service::keys::tests::{at, caller, key_caller, record, secret};

    const NOW: i64 = 50;

    fn rotate_at_now(
        record: KeyRecord,
        replaces: Option<Uuid>,
        caller: &Caller,
    ) -> Result<(KeyChange, IssuedKey), ServiceError> {
        let secret = NewSecret {
            secret: Secret::mint(&"mk".parse().unwrap(), &Entropy::fixed([1; 32]), at(NOW)),
            record: secret(NOW, None),
        };
        let audit = AuditContext { caller, source: &RequestSource::default(), at: at(NOW) };
        rotate(record, Rotation { secret, grace: TimeDelta::seconds(10), replaces }, &audit)
    }

    fn conflict(result: Result<(KeyChange, IssuedKey), ServiceError>) -> ConflictReason {
        match result.map(drop).unwrap_err() {
            ServiceError::Conflict(reason) => reason,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn rotate_adds_a_secret_and_ends_the_old_one_after_the_grace() {
        let before = record(&["a"], None);
        let user = caller(Credential::Token, &[]);
        let (change, issued) = rotate_at_now(before.clone(), newest_secret(&before), &user).unwrap();
        let (rotated, events) = change.into_parts();
        let [new, old] = &rotated.secrets[..] else { panic!("two secrets") };
        assert_eq!((new.expires_at, old.expires_at), (None, Some(at(60))));
        assert_eq!((rotated.key.start.as_str(), rotated.key.revision), ("mk_50", 2));
        assert_eq!(issued.key, rotated.key);
        assert_eq!(events.iter().map(|event| event.action.as_str()).collect::<Vec<_>>(), ["rotated"]);
    }

    #[test]
    fn rotate_never_lets_the_old_secret_outlive_the_key() {
        let before = record(&[], Some(55));
        let user = caller(Credential::Token, &[]);
        let (change, _) = rotate_at_now(before.clone(), newest_secret(&before), &user).unwrap();
        let (rotated, _) = change.into_parts();
        assert_eq!(rotated.secrets[1].expires_at, Some(at(55)));
        assert_eq!(rotated.key.expires_at, Some(at(55)));
    }

    #[test]
    fn rotate_of_an_inactive_key_conflicts() {
        let user = caller(Credential::Token, &[]);
        let mut disabled = record(&[], None);
        disabled.key.enabled = false;
        for inactive in [disabled, record(&[], Some(NOW))] {
            let replaces = newest_secret(&inactive);
            let status = inactive.key.status(at(NOW));
            let reason = conflict(rotate_at_now(inactive, replaces, &user));
            assert_eq!(reason, ConflictReason::KeyNotActive(status));
            assert!(reason.message().contains(status.as_str()), "{}", reason.message());
        }
    }

    #[test]
    fn rotate_during_a_grace_or_after_another_rotation_conflicts() {
        let user = caller(Credential::Token, &[]);
        let mut rotated = record(&[], None);
        rotated.secrets = vec![secret(40, None), secret(1, Some(NOW + 1))];
        let newest = newest_secret(&rotated);
        let until = Some(at(NOW + 1));
        let reason = conflict(rotate_at_now(rotated.clone(), newest, &user));
        assert_eq!(reason, ConflictReason::RotationInProgress(until));
        rotated.secrets[1].expires_at = Some(at(NOW));
        assert!(rotate_at_now(rotated.clone(), newest, &user).is_ok());
        let seen_before = Some(rotated.secrets[1].id);
        assert_eq!(conflict(rotate_at_now(rotated, seen_before, &user)), ConflictReason::RotationInProgress(None));
    }

    #[test]
    fn rotate_needs_every_scope_of_the_key() {
        let before = record(&["a", "b"], None);
        let result = rotate_at_now(before.clone(), newest_secret(&before), &key_caller(None, &["a"]));
        let Err(ServiceError::MissingRight(MissingRight::Scope(missing))) = result else { panic!("b is missing") };
        assert_eq!(missing.as_str(), "b");
        assert!(rotate_at_now(before.clone(), newest_secret(&before), &key_caller(None, &["a", "b"])).is_ok());
    }

    #[test]
    fn rotate_of_a_key_that_outlives_the_calling_key_is_denied() {
        for (expires_at, fits) in [(None, false), (Some(101), false), (Some(100), true)] {
            let before = record(&[], expires_at);
            let result = rotate_at_now(before.clone(), newest_secret(&before), &key_caller(Some(100), &[]));
            match fits {
                true => assert!(result.is_ok()),
                false => assert!(matches!(
                    result,
                    Err(ServiceError::MissingRight(MissingRight::Lifetime { caller_expires_at, .. }))
                        if caller_expires_at == at(100)
                )),
            }
        }
    }
}
