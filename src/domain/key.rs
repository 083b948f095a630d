//! API key: a named credential of one owner, with an id that never changes.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use uuid::{ContextV7, Timestamp, Uuid};

use super::caller::Owner;
use super::metadata::Metadata;
use super::name::KeyName;
use super::scope::Scopes;
use super::secret::SecretHash;

/// A UUIDv7 (RFC 9562, section 5.7) of this instant: ids sort by the time they were made, which is the order of every
/// list. The counter orders those of one process within a millisecond.
pub fn new_id(now: DateTime<Utc>) -> Uuid {
    static COUNTER: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    let counter = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(&*counter, seconds, now.timestamp_subsec_nanos()))
}

#[derive(Debug, Clone, PartialEq)]
pub struct ApiKey {
    pub id: Uuid,
    pub owner: Owner,
    pub name: KeyName,
    pub scopes: Scopes,
    pub metadata: Metadata,
    pub enabled: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// Whether the key is good at this instant. An expiry is the first instant at which it is not.
    pub fn is_active(&self, now: DateTime<Utc>) -> bool {
        self.enabled && self.revoked_at.is_none() && self.expires_at.is_none_or(|expiry| now < expiry)
    }
}

/// What is stored of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    pub id: Uuid,
    pub hash: SecretHash,
    pub pepper_id: String,
    pub start: String,
    pub last4: String,
    pub created_at: DateTime<Utc>,
    /// When this secret alone ends, because a rotation replaced it.
    pub expires_at: Option<DateTime<Utc>>,
}
