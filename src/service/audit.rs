//! AuditLog: the history of changes to keys.

use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::audit::AuditEvent;
use crate::service::errors::ServiceError;
pub use crate::store::EventFilter;
use crate::store::Store;

/// Reads audit events. They are written in the transactions of the changes that they record.
pub struct AuditLog {
    store: Store,
}

/// A page of events, newest first.
pub struct EventPage {
    pub events: Vec<AuditEvent>,
    /// The id to continue after, if more events follow.
    pub next: Option<Uuid>,
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
    ) -> Result<EventPage, ServiceError> {
        // One more than requested shows whether another page follows.
        let mut events = self.store.list_events(access, filter, after, limit + 1).await?;
        let more = events.len() as u64 > limit;
        if more {
            events.pop();
        }
        Ok(EventPage { next: events.last().filter(|_| more).map(|event| event.id), events })
    }
}
