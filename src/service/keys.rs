//! Keys: the rules by which they are made.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{Service, ServiceError};
use crate::domain::audit::{Action, Actor, AuditEvent, Origin};
use crate::domain::caller::{Caller, Credential};
use crate::domain::key::{ApiKey, StoredSecret, new_id};
use crate::domain::metadata::Metadata;
use crate::domain::name::KeyName;
use crate::domain::scope::{Scope, Scopes};
use crate::domain::secret::{Entropy, Secret};

/// What a caller says of a key to be made. Owner, organisation and issuer are not here: they come from the caller.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub name: KeyName,
    pub scopes: Scopes,
    pub metadata: Metadata,
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key and the only copy of its secret there will ever be.
pub struct CreatedKey {
    pub key: ApiKey,
    pub secret: Secret<'static>,
}

impl Service {
    pub async fn create_key(&self, caller: &Caller, new: NewKey, origin: Origin) -> Result<CreatedKey, ServiceError> {
        let now = self.clock.now();
        self.check_grant(caller, &new.scopes)?;
        let key = ApiKey {
            id: new_id(now),
            owner: caller.owner.clone(),
            name: new.name,
            scopes: new.scopes,
            metadata: new.metadata,
            enabled: true,
            created_at: now,
            updated_at: now,
            expires_at: allowed_expiry(caller, new.expires_at, now)?,
            revoked_at: None,
        };
        let entropy = Entropy::from_os().map_err(|error| ServiceError::Internal(format!("no randomness: {error}")))?;
        let secret = Secret::mint(&self.prefix, &entropy);
        let pepper = self.peppers.newest();
        let stored = StoredSecret {
            id: new_id(now),
            hash: pepper.hash(&secret),
            pepper_id: pepper.id().to_owned(),
            start: secret.start().to_owned(),
            last4: secret.last4().to_owned(),
            created_at: now,
            expires_at: None,
        };
        let changes = json!({
            "name": key.name.as_str(),
            "scopes": key.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
            "metadata": key.metadata.as_object(),
            "expires_at": key.expires_at,
        });
        let event = AuditEvent::new(Action::Created, now, Actor::from(caller), origin, &key, changes);
        self.store.create_key(&key, &stored, &event).await?;
        Ok(CreatedKey { key, secret })
    }

    /// A key passes on only what it holds; a user anything in the catalogue, except this service's own scopes, which
    /// nobody can give who does not have them.
    fn check_grant(&self, caller: &Caller, scopes: &Scopes) -> Result<(), ServiceError> {
        let is_key = caller.credential != Credential::Token;
        for (index, scope) in scopes.iter().enumerate() {
            if (is_key || scope.is_own()) && !caller.scopes.holds(scope.as_str()) {
                return Err(ServiceError::MissingScope(scope.as_str().to_owned()));
            }
            let listed = self.catalogue.as_ref().is_none_or(|catalogue| catalogue.holds(scope.as_str()));
            if !listed && !scope.is_own() {
                return Err(ServiceError::invalid(
                    format!("/scopes/{index}"),
                    "is not in this deployment's catalogue of scopes",
                ));
            }
        }
        Ok(())
    }
}

/// A key lives no longer than the key that made it, also when no expiry was asked for.
fn allowed_expiry(
    caller: &Caller,
    asked: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, ServiceError> {
    if asked.is_some_and(|expiry| expiry <= now) {
        return Err(ServiceError::invalid("/expires_at", "must be in the future"));
    }
    let limit = match caller.credential {
        Credential::Key { expires_at, .. } => expires_at,
        Credential::Token => None,
    };
    match (asked, limit) {
        (Some(expiry), Some(limit)) if expiry > limit => Err(ServiceError::invalid(
            "/expires_at",
            "must not be later than the expiry of the key that makes this request",
        )),
        (None, limit) => Ok(limit),
        (asked, _) => Ok(asked),
    }
}
