//! Rotate: a new secret for the same key. The old one lives on for the grace, so that its users can move.

use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::KeyStatus;
use crate::domain::audit::{Action, AuditContext};
use crate::domain::caller::Credential;
use crate::service::idempotency::IdempotentRequest;
use crate::service::keys::{IssuedKey, present};
use crate::service::{Service, ServiceError};
use crate::store::{Change, Unchanged};

impl Service {
    /// Never lengthens a life: the key's own expiry stays, and the old secret ends at its own or the grace's, whichever
    /// is first. While it lives, another rotation would leave three secrets, or cut a grace that was promised: refused.
    pub async fn rotate_key(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        grace: TimeDelta,
        request: Option<IdempotentRequest>,
    ) -> Result<IssuedKey, ServiceError> {
        let now = audit.at;
        let (secret, stored) = self.mint(now)?;
        // Of rotations at once the first takes the secret that all of them saw; to the others it is gone.
        let seen =
            self.store.find_key(access, id).await?.and_then(|record| record.secrets.first().map(|newest| newest.id));
        let mut issued = None;
        let decide = |record| {
            let mut record = present(record)?;
            if record.key.status(now) != KeyStatus::Active {
                return Err(ServiceError::conflict(
                    "key-not-active",
                    "Only an active key can be rotated; this one is revoked, disabled or expired.",
                ));
            }
            if record.live_secrets(now).count() > 1 || record.secrets.first().map(|newest| newest.id) != seen {
                return Err(ServiceError::conflict(
                    "rotation-in-progress",
                    "The key is being rotated: another request was first, or the old secret still lives; wait until the grace is over.",
                ));
            }
            // A secret is a grant: nobody gets more by it than they could have given.
            if let Some(scope) = record.key.scopes.iter().find(|scope| !audit.caller.can_grant(scope)) {
                return Err(ServiceError::MissingScope(scope.as_str().to_owned()));
            }
            if let Credential::Key { expires_at: Some(limit), .. } = audit.caller.credential
                && record.key.expires_at.is_none_or(|end| end > limit)
            {
                return Err(ServiceError::conflict(
                    "key-outlives-caller",
                    "The key lives longer than the key that makes this request, which cannot have its secret.",
                ));
            }
            let old_ends = record.key.expires_at.map_or(now + grace, |end| end.min(now + grace));
            for old in record.secrets.iter_mut().filter(|old| old.is_live(now)) {
                old.expires_at = Some(old.expires_at.map_or(old_ends, |end| end.min(old_ends)));
            }
            record.key.start.clone_from(&stored.start);
            record.key.last4.clone_from(&stored.last4);
            record.key.updated_at = now;
            record.key.revision += 1;
            record.secrets.insert(0, stored);
            let changes =
                json!({ "start": record.key.start, "last4": record.key.last4, "old_secret_expires_at": old_ends });
            let events = vec![audit.event(Action::Rotated, &record.key, changes)];
            let issued = issued.insert(IssuedKey { key: record.key.clone(), secret, replayed: false });
            let remember = request.as_ref().map(|request| request.seal(issued, now)).transpose()?;
            Ok(Change { record, events, remember })
        };
        let name = request.as_ref().map(IdempotentRequest::id);
        match (self.store.change_key(access, id, name, now, decide).await?, issued, &request) {
            (Ok(record), Some(issued), _) => {
                self.forget(&record);
                Ok(issued)
            }
            (Err(Unchanged::Decided(refusal)), ..) => Err(refusal),
            (Err(Unchanged::AnsweredBefore(earlier)), _, Some(request)) => request.open(&earlier),
            _ => Err(ServiceError::Internal("a rotation ended with neither a secret nor a reason".into())),
        }
    }
}
