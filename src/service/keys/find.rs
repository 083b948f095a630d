//! Find: one key, or a page of them.

use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyRecord};
use crate::domain::precondition::Precondition;
use crate::service::keys::present;
use crate::service::{Service, ServiceError};
use crate::store::KeyFilter;

#[derive(Debug, Clone, Default)]
pub struct KeyQuery {
    pub filter: KeyFilter,
    pub after: Option<Uuid>,
    /// 1 to 100.
    pub limit: u64,
}

pub struct KeyPage {
    pub keys: Vec<ApiKey>,
    /// Where the next page begins, when there is one.
    pub next: Option<Uuid>,
}

impl Service {
    pub async fn find_key(
        &self,
        access: AccessFilter<'_>,
        id: Uuid,
        precondition: &Precondition,
    ) -> Result<KeyRecord, ServiceError> {
        let record = present(self.store.find_key(access, id).await?)?;
        if !precondition.is_met_by(&record.key) {
            return Err(ServiceError::PreconditionFailed);
        }
        Ok(record)
    }

    pub async fn list_keys(&self, access: AccessFilter<'_>, query: &KeyQuery) -> Result<KeyPage, ServiceError> {
        // One more than asked for tells whether there is a next page.
        let limit = query.limit + 1;
        let mut keys = self.store.list_keys(access, &query.filter, query.after, limit, self.clock.now()).await?;
        let more = keys.len() as u64 == limit;
        if more {
            keys.pop();
        }
        Ok(KeyPage { next: keys.last().filter(|_| more).map(|key| key.id), keys })
    }
}
