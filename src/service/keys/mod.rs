//! Keys: the rules by which they are made, looked after and ended. One file per operation.

mod create;
mod find;
mod revoke;
mod rotate;
mod update;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
pub use crate::store::KeyFilter;
pub use create::NewKey;
pub use find::{KeyPage, KeyQuery};
pub use revoke::BulkRevocation;
pub use update::KeyPatch;

use crate::domain::api_key::{ApiKey, KeyRecord, SecretRecord};
use crate::domain::caller::{Caller, Credential};
use crate::domain::id::new_id;
use crate::domain::scope::Scopes;
use crate::domain::secret::{Entropy, Secret};
use crate::domain::validation::ValidationError;
use crate::service::{Service, ServiceError};
use crate::store::KeyChange;

/// A key and the only copy of its secret there will ever be, outside a sealed answer.
#[derive(Serialize, Deserialize)]
pub struct IssuedKey {
    pub key: ApiKey,
    pub secret: Secret<'static>,
    /// Given again to a request that was answered before.
    #[serde(skip)]
    pub replayed: bool,
}

impl Service {
    fn mint(&self, now: DateTime<Utc>) -> Result<(Secret<'static>, SecretRecord), ServiceError> {
        let entropy = Entropy::from_os().map_err(|error| ServiceError::Internal(format!("no randomness: {error}")))?;
        let secret = Secret::mint(&self.prefix, &entropy, now);
        let pepper = self.peppers.newest();
        let stored = SecretRecord {
            id: new_id(now),
            hash: pepper.hash(&secret),
            pepper_id: pepper.id().to_owned(),
            start: secret.start().to_owned(),
            last4: secret.last4().to_owned(),
            created_at: now,
            expires_at: None,
            last_used_at: None,
        };
        Ok((secret, stored))
    }

    /// Changes a key. Not for operations with an `Idempotency-Key`: repeated, the change must have the same result.
    async fn change_key(
        &self,
        access: AccessFilter<'_>,
        id: Uuid,
        apply: impl FnOnce(Option<KeyRecord>) -> Result<KeyChange, ServiceError>,
    ) -> Result<KeyRecord, ServiceError> {
        let apply = |record| apply(record).map(|change| (change, ()));
        let (record, ()) = self.store.change_key(access, id, apply).await??;
        self.forget(&record);
        Ok(record)
    }

    /// A change is in force on this node from here on, before its answer is sent.
    fn forget(&self, record: &KeyRecord) {
        record.secrets.iter().for_each(|secret| self.cache.changed(&secret.hash));
    }

    fn check_grant(&self, caller: &Caller, scopes: &Scopes, held: &Scopes) -> Result<(), ServiceError> {
        let mut outside = Vec::new();
        for (index, scope) in scopes.iter().enumerate().filter(|(_, scope)| !held.contains(scope.as_str())) {
            if !caller.can_grant(scope) {
                return Err(ServiceError::MissingScope(scope.as_str().to_owned()));
            }
            let listed = self.allowed_scopes.as_ref().is_none_or(|allowed| allowed.contains(scope.as_str()));
            if !listed && !scope.is_reserved() {
                let rule = ValidationError::new("is not among the scopes that this deployment allows");
                outside.push((format!("/scopes/{index}"), rule));
            }
        }
        if outside.is_empty() { Ok(()) } else { Err(ServiceError::Invalid(outside)) }
    }
}

/// When a key is to end, as the caller says it.
#[derive(Debug, Clone, Copy)]
pub enum RequestedExpiry {
    At(DateTime<Utc>),
    After(TimeDelta),
}

/// A key lives no longer than the key that made it, also when no expiry was asked for.
fn allowed_expiry(
    caller: &Caller,
    asked: Option<RequestedExpiry>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, ServiceError> {
    let (pointer, asked) = match asked {
        Some(RequestedExpiry::At(time)) => ("/expires_at", Some(time)),
        Some(RequestedExpiry::After(lifetime)) => ("/expires_in_seconds", Some(now + lifetime)),
        None => ("/expires_at", None),
    };
    if asked.is_some_and(|expiry| expiry <= now) {
        return Err(ServiceError::invalid(pointer, "must be in the future"));
    }
    let limit = match caller.credential {
        Credential::Key { expires_at, .. } => expires_at,
        Credential::Token | Credential::Operator => None,
    };
    match (asked, limit) {
        (Some(expiry), Some(limit)) if expiry > limit => {
            Err(ServiceError::invalid(pointer, "must not be later than the expiry of the key that makes this request"))
        }
        (None, limit) => Ok(limit),
        (asked, _) => Ok(asked),
    }
}

/// What an audit event says of a key's changeable members.
fn described(key: &ApiKey) -> Map<String, Value> {
    let members = [
        ("name", json!(key.name.as_str())),
        ("scopes", json!(key.scopes)),
        ("metadata", key.metadata.as_object().clone().into()),
        ("expires_at", json!(key.expires_at)),
    ];
    members.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// A key that is not there, and one that is another's, are one answer.
fn present(record: Option<KeyRecord>) -> Result<KeyRecord, ServiceError> {
    record.ok_or(ServiceError::NotFound)
}
