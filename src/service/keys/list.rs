//! List: reads a page of keys.

use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::ApiKey;
use crate::service::errors::ServiceError;
use crate::service::keys::KeyService;
use crate::store::KeyFilter;

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct KeyQuery {
    pub filter: KeyFilter,
    /// Lists keys that are older than the key with this id.
    pub after: Option<Uuid>,
    /// Maximum number of keys, 1 to 100.
    pub limit: u64,
}

/// A page of keys, newest first.
pub struct KeyPage {
    pub keys: Vec<ApiKey>,
    /// The id to continue after, if more keys follow.
    pub next: Option<Uuid>,
}

impl KeyService {
    /// Lists keys without their secrets.
    pub async fn list(&self, access: AccessFilter<'_>, query: &KeyQuery) -> Result<KeyPage, ServiceError> {
        // One more than requested shows whether another page follows.
        let limit = query.limit + 1;
        let mut keys = self.store.list_keys(access, &query.filter, query.after, limit, self.clock.now()).await?;
        let more = keys.len() as u64 == limit;
        if more {
            keys.pop();
        }
        Ok(KeyPage { next: keys.last().filter(|_| more).map(|key| key.id), keys })
    }
}
