//! RefusalLog: records attempts to give a key more than the caller has.
//!
//! A refused request changes nothing, so its audit event is written by itself, afterwards, and the response never depends
//! on it. Each owner gets a limited number of events per minute, so that no caller can fill the database with them. The
//! limit counts owners, not credentials, because an owner can make any number of keys.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::domain::audit::AuditEvent;
use crate::domain::owner::Owner;
use crate::store::Store;

/// Events of one owner per minute.
const MAX_EVENTS: u32 = 10;
/// Owners per minute. Bounds the memory.
const MAX_OWNERS: usize = 1_000;

pub struct RefusalLog {
    store: Store,
    window: Mutex<Window>,
    recorded: AtomicU64,
    over_limit: AtomicU64,
    failed: AtomicU64,
}

/// Refused operations since the start, by what became of their audit events.
pub struct RefusalStats {
    pub recorded: u64,
    /// Not recorded, because their owner had too many.
    pub over_limit: u64,
    /// Not recorded, because the store failed.
    pub failed: u64,
}

impl RefusalLog {
    pub fn new(store: Store) -> Self {
        let (window, recorded, over_limit, failed) = Default::default();
        Self { store, window, recorded, over_limit, failed }
    }

    /// Writes the event, unless its owner had too many. A failure is logged and counted.
    pub async fn record(&self, owner: &Arc<Owner>, event: AuditEvent) {
        if !self.window.lock().unwrap_or_else(PoisonError::into_inner).admits(owner, event.at) {
            self.over_limit.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let counter = match self.store.create_event(event).await {
            Ok(()) => &self.recorded,
            Err(error) => {
                tracing::warn!(%error, "refused operation not recorded in the audit log");
                &self.failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn stats(&self) -> RefusalStats {
        let [recorded, over_limit, failed] =
            [&self.recorded, &self.over_limit, &self.failed].map(|counter| counter.load(Ordering::Relaxed));
        RefusalStats { recorded, over_limit, failed }
    }
}

/// The events of one minute, by owner.
#[derive(Default)]
struct Window {
    minute: i64,
    events: HashMap<Arc<Owner>, u32>,
}

impl Window {
    /// Counts an event. False if the limit is exceeded.
    fn admits(&mut self, owner: &Arc<Owner>, at: DateTime<Utc>) -> bool {
        let minute = at.timestamp().div_euclid(60);
        if minute != self.minute {
            *self = Self { minute, events: HashMap::new() };
        }
        if self.events.len() >= MAX_OWNERS && !self.events.contains_key(owner) {
            return false;
        }
        let events = self.events.entry(Arc::clone(owner)).or_default();
        *events = events.saturating_add(1);
        *events <= MAX_EVENTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::AccessFilter;
    use crate::domain::audit::{Action, AuditContext, RequestSource};
    use crate::domain::authority::MissingRight;
    use crate::domain::caller::{Caller, Credential};
    use crate::domain::scope::Scope;
    use crate::service::keys::tests::{at, caller};
    use crate::store::EventFilter;

    fn user(subject: &str) -> Caller {
        let owner = Owner { issuer: "i".into(), subject: subject.into(), organization: None };
        Caller { owner: owner.into(), ..caller(Credential::Token, &[]) }
    }

    async fn refuse(log: &RefusalLog, caller: &Caller, seconds: i64) {
        let audit = AuditContext { caller, source: &RequestSource::default(), at: at(seconds) };
        let right = MissingRight::Scope(Scope::new("a").unwrap());
        log.record(&caller.owner, audit.refusal("create", None, &right)).await;
    }

    #[tokio::test]
    async fn record_writes_ten_events_per_owner_and_minute() {
        let (store, _directory) = Store::temporary().await;
        let log = RefusalLog::new(store.clone());
        let (alice, bob) = (user("alice"), user("bob"));
        for (caller, second, times) in [(&alice, 60, 12), (&bob, 119, 1), (&alice, 119, 1), (&alice, 120, 2)] {
            for _ in 0..times {
                refuse(&log, caller, second).await;
            }
        }
        let stats = log.stats();
        assert_eq!((stats.recorded, stats.over_limit, stats.failed), (13, 3, 0));
        let filter = EventFilter { action: Some(Action::Refused), ..EventFilter::default() };
        let written = store.list_events(AccessFilter::Any, &filter, None, 100).await.unwrap().items;
        assert_eq!(written.iter().filter(|event| event.owner.subject == "alice").count(), 12);
        assert_eq!(written.len(), 13);
    }

    #[test]
    fn window_holds_a_limited_number_of_owners() {
        let mut window = Window::default();
        let owner = |number: usize| user(&number.to_string()).owner;
        assert!((0..MAX_OWNERS).all(|number| window.admits(&owner(number), at(60))));
        assert!(!window.admits(&owner(MAX_OWNERS), at(60)));
        assert!(window.admits(&owner(0), at(60)), "an owner that is counted already");
        assert_eq!(window.events.len(), MAX_OWNERS);
        assert!(window.admits(&owner(MAX_OWNERS), at(120)));
        assert_eq!(window.events.len(), 1);
    }

    #[tokio::test]
    async fn record_of_a_store_that_fails_is_counted() {
        let (store, _directory) = Store::temporary().await;
        let log = RefusalLog::new(store.clone());
        store.close().await.unwrap();
        refuse(&log, &user("alice"), 60).await;
        let stats = log.stats();
        assert_eq!((stats.recorded, stats.over_limit, stats.failed), (0, 0, 1));
    }
}
