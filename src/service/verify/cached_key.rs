//! Known: what is kept of a key that was asked about lately.
//!
//! There may be a million of them, so each holds only what a question needs, once, and shares with the others what they
//! have in common.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::api_key::{KeyForSecret, KeyStatus};
use crate::domain::caller::{Caller, Credential};
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner;
use crate::domain::scope::Scopes;
use crate::domain::verdict::Verdict;
use crate::service::usage::UsageCounter;

/// A key as it was read for one of its secrets.
pub struct CachedKey {
    pub id: Uuid,
    pub secret_id: Uuid,
    pub owner: Arc<Owner>,
    pub scopes: Arc<Scopes>,
    /// Its name, [`MARK`], and its metadata as JSON, if there are any.
    text: Box<str>,
    expires_at: End,
    secret_ends: End,
    pub tally: UsageCounter,
    /// In seconds since the epoch, as introspection tells it.
    pub created_at: u32,
    /// Leaving aside when it ends.
    standing: KeyStatus,
}

/// With the two counts of an `Arc` that makes 128 bytes; jemalloc's next size is 160.
const _: () = assert!(size_of::<CachedKey>() <= 112);

/// JSON has no such character, but escapes it, so that the last one is the mark whatever the name is.
const MARK: char = '\0';

impl CachedKey {
    pub fn new(key: KeyForSecret, owners: &Shared<Owner>, scopes: &Shared<Scopes>) -> Self {
        let metadata = if key.metadata.as_object().is_empty() { String::new() } else { key.metadata.to_json() };
        Self {
            id: key.id,
            secret_id: key.secret_id,
            text: format!("{}{MARK}{metadata}", key.name.as_str()).into(),
            expires_at: key.expires_at.into(),
            secret_ends: key.secret_expires_at.into(),
            tally: UsageCounter::of(key.last_used_at),
            created_at: u32::try_from(key.created_at.timestamp()).unwrap_or_default(),
            standing: key.standing,
            owner: owners.of(key.owner),
            scopes: scopes.of(key.scopes),
        }
    }

    pub fn name(&self) -> &str {
        self.name_and_metadata().0
    }

    pub fn metadata(&self) -> Metadata {
        match self.name_and_metadata().1 {
            "" => Metadata::default(),
            json => Metadata::from_db(json).expect("the JSON was written here"),
        }
    }

    fn name_and_metadata(&self) -> (&str, &str) {
        self.text.rsplit_once(MARK).expect("the mark was written here")
    }

    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.expires_at.time()
    }

    /// When the key ends, or the secret that it is known by.
    pub fn ends(&self) -> Option<DateTime<Utc>> {
        self.expires_at.min(self.secret_ends).time()
    }

    pub fn verdict(&self, required: &Scopes, now: DateTime<Utc>) -> Verdict {
        Verdict::of(self.standing, self.ends(), &self.scopes, required, now)
    }

    /// What the verdict is, whatever is asked for, when it is neither good nor lacks a scope.
    pub fn refusal(&self) -> Verdict {
        match self.standing {
            KeyStatus::Revoked => Verdict::Revoked,
            KeyStatus::Disabled => Verdict::Disabled,
            KeyStatus::Active | KeyStatus::Expired => Verdict::Expired,
        }
    }

    /// The key as one who makes requests.
    pub fn caller(&self) -> Caller {
        let credential = Credential::Key { id: self.id, expires_at: self.expires_at() };
        Caller { owner: self.owner.clone(), scopes: self.scopes.clone(), credential }
    }
}

/// When something ends, if ever, in eight bytes where chrono takes twelve: in microseconds since the epoch, which is as
/// exact as the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End(i64);

impl End {
    const NEVER: Self = Self(i64::MAX);

    fn time(self) -> Option<DateTime<Utc>> {
        if self == Self::NEVER { None } else { DateTime::from_timestamp_micros(self.0) }
    }
}

impl From<Option<DateTime<Utc>>> for End {
    fn from(time: Option<DateTime<Utc>>) -> Self {
        time.map_or(Self::NEVER, |time| Self(time.timestamp_micros()))
    }
}

/// Values that many keys have in common, each in memory once.
pub struct Shared<T>(Mutex<HashSet<Arc<T>>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Hash + Eq> Shared<T> {
    pub fn of(&self, value: T) -> Arc<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = values.get(&value) {
            return shared.clone();
        }
        if values.len() == values.capacity() {
            values.retain(|value| Arc::strong_count(value) > 1);
            // As many again can come before all are looked through again.
            let used = values.len();
            values.reserve(used);
        }
        let value = Arc::new(value);
        values.insert(value.clone());
        value
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::id::new_id;
    use crate::domain::key_name::KeyName;
    use crate::domain::secret_hash::SecretHash;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    pub fn known(metadata: Metadata, key_ends: Option<i64>, secret_ends: Option<i64>) -> CachedKey {
        let key = KeyForSecret {
            id: new_id(at(1)),
            owner: Owner { issuer: "i".into(), subject: "s".into(), organization: None },
            name: KeyName::new("build bot").unwrap(),
            scopes: Scopes::default(),
            metadata,
            standing: KeyStatus::Active,
            created_at: at(1),
            expires_at: key_ends.map(at),
            secret_id: new_id(at(1)),
            secret_hash: SecretHash([0; 32]),
            secret_expires_at: secret_ends.map(at),
            last_used_at: None,
        };
        CachedKey::new(key, &Shared::default(), &Shared::default())
    }

    #[test]
    fn name_and_metadata_are_told_apart_again() {
        let metadata = Metadata::from_db(&json!({ "a\0b": ["\0", { "c": null }] }).to_string()).unwrap();
        let with = known(metadata.clone(), None, None);
        assert_eq!((with.name(), with.metadata()), ("build bot", metadata));
        let without = known(Metadata::default(), None, None);
        assert_eq!((without.name(), without.metadata()), ("build bot", Metadata::default()));
    }

    #[test]
    fn it_ends_with_the_key_or_with_the_secret_whichever_is_first() {
        let ends = |key, secret| known(Metadata::default(), key, secret).ends();
        assert_eq!(ends(None, None), None);
        assert_eq!(ends(Some(5), None), Some(at(5)));
        assert_eq!(ends(Some(5), Some(4)), Some(at(4)));
        assert_eq!(known(Metadata::default(), Some(5), Some(4)).expires_at(), Some(at(5)));
        assert_eq!(known(Metadata::default(), Some(5), None).verdict(&Scopes::default(), at(5)), Verdict::Expired);
    }

    #[test]
    fn a_value_is_in_memory_once_and_no_longer_than_it_is_used() {
        let shared = Shared::default();
        let first = shared.of("first".to_owned());
        assert!(Arc::ptr_eq(&first, &shared.of("first".to_owned())));
        for n in 0..1000 {
            shared.of(n.to_string());
        }
        let values = shared.0.lock().unwrap();
        assert!(values.contains(&first) && values.len() < 10, "{}", values.len());
    }
}
