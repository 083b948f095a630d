//! Audit: what was changed, read back.

use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::audit::AuditEvent;
use crate::service::{Service, ServiceError};
pub use crate::store::EventFilter;

pub struct EventPage {
    pub events: Vec<AuditEvent>,
    pub next: Option<Uuid>,
}

impl Service {
    pub async fn list_events(
        &self,
        access: AccessFilter<'_>,
        filter: &EventFilter,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<EventPage, ServiceError> {
        let mut events = self.store.list_events(access, filter, after, limit + 1).await?;
        let more = events.len() as u64 > limit;
        if more {
            events.pop();
        }
        Ok(EventPage { next: events.last().filter(|_| more).map(|event| event.id), events })
    }
}
