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
use crate::store::Creation;

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
            && let Some(earlier) = Box::pin(self.store.answered_before(request.id(), audit.at)).await?
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
        let remember = request.as_ref().map(|request| request.seal(&issued, audit.at)).transpose()?;
        let hash = stored.hash;
        let creation = Creation { key: issued.key.clone(), secret: stored, event, remember };
        match (self.store.create_key(creation).await?, request) {
            (Some(earlier), Some(request)) => request.open(&earlier),
            _ => {
                // Whoever asked before there was such a key was told so, and that is over.
                self.cache.changed(&hash);
                Ok(issued)
            }
        }
    }
}
