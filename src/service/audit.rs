//! AuditLog: the history of changes to keys.

use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::audit::AuditEvent;
use crate::domain::list_page::ListPage;
use crate::service::errors::ServiceError;
use crate::store::Store;
pub use crate::store::{CommittedChange, EventFilter};

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
        Ok(self.store.list_events(access, filter, after, limit).await?)
    }

    /// Returns a position at or before which all changes are committed. A backup that begins later contains them.
    pub async fn position(&self) -> Result<i64, ServiceError> {
        Ok(self.store.change_position().await?)
    }

    /// Returns up to `limit` changes in the order of their positions, after a position and an event at it.
    pub async fn list_changes(&self, after: (i64, Uuid), limit: u64) -> Result<Vec<CommittedChange>, ServiceError> {
        Ok(self.store.list_changes(after, limit).await?)
    }

    /// Whether the database contains the change with this event.
    pub async fn has_change(&self, event_id: Uuid) -> Result<bool, ServiceError> {
        Ok(self.store.has_change(event_id).await?)
    }
}
