//! List: reads a page of keys, for the API and the command line, which cannot reach the store.

use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::ApiKey;
use crate::domain::list_page::ListPage;
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

impl KeyService {
    /// Lists keys without their secrets.
    pub async fn list(&self, access: AccessFilter<'_>, query: &KeyQuery) -> Result<ListPage<ApiKey>, ServiceError> {
        let KeyQuery { filter, after, limit } = query;
        Ok(self.store.list_keys(access, filter, *after, *limit, self.clock.now()).await?)
    }
}
