//! Create: a new key, for its owner.

use crate::domain::api_key::ApiKey;
use crate::domain::audit::{Action, AuditContext};
use crate::domain::id::new_id;
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner;
use crate::domain::scope::Scopes;
use crate::service::idempotency::IdempotentRequest;
use crate::service::keys::{IssuedKey, RequestedExpiry, allowed_expiry, described};
use crate::service::{Service, ServiceError};
use crate::store::{InsertOutcome, KeyInsert};

/// What is said of a key to be made. Owner, organisation and issuer are not here: over HTTP they are the caller's.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub name: KeyName,
    pub scopes: Scopes,
    pub metadata: Metadata,
    pub ending: Option<RequestedExpiry>,
}

impl Service {
    pub async fn create_key(
        &self,
        audit: &AuditContext<'_>,
        owner: &Owner,
        new: NewKey,
        request: Option<IdempotentRequest>,
    ) -> Result<IssuedKey, ServiceError> {
        if let Some(request) = &request
            && let Some(earlier) = Box::pin(self.store.find_saved_response(request.id(), audit.at)).await?
        {
            return request.open(&earlier);
        }
        self.check_grant(audit.caller, &new.scopes, &Scopes::default())?;
        let (secret, stored) = self.mint(audit.at)?;
        let key = ApiKey {
            id: new_id(audit.at),
            owner: owner.clone(),
            name: new.name,
            scopes: new.scopes,
            metadata: new.metadata,
            enabled: true,
            start: stored.start.clone(),
            last4: stored.last4.clone(),
            created_at: audit.at,
            updated_at: audit.at,
            expires_at: allowed_expiry(audit.caller, new.ending, audit.at)?,
            revocation: None,
            deleted_at: None,
            revision: 1,
        };
        let event = audit.event(Action::Created, &key, described(&key).into());
        let issued = IssuedKey { key, secret, replayed: false };
        let hash = stored.hash;
        let insert = KeyInsert { key: issued.key.clone(), secret: stored, event };
        match request {
            None => self.store.create_key(insert).await?,
            Some(request) => {
                let response = request.seal(&issued, audit.at)?;
                if let InsertOutcome::Replayed(earlier) = self.store.create_key_once(insert, response).await? {
                    return request.open(&earlier);
                }
            }
        }
        // Drops the cached "not found" entry, because a lookup may have raced with this insert.
        self.cache.changed(&hash);
        Ok(issued)
    }
}
