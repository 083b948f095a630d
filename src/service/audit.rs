//! AuditLog: the history of changes to keys.

use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::audit::AuditEvent;
use crate::service::errors::ServiceError;
use crate::service::list_page::ListPage;
pub use crate::store::EventFilter;
use crate::store::Store;

/// Reads audit events, in pages. They are written in the transactions of the changes that they record. The layers above
/// read them here, because only services can reach the store.
pub struct AuditLog {
    store: Store,
}

impl AuditLog {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Lists up to `limit` events that are older than the event `after`, or the newest ones.
    pub async fn list(
        &self,
        access: AccessFilter<'_>,
        filter: &EventFilter,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<ListPage<AuditEvent>, ServiceError> {
        let events = self.store.list_events(access, filter, after, limit + 1).await?;
        Ok(ListPage::from_lookahead(events, limit, |event| event.id))
    }
}
