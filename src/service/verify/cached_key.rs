//! CachedKey: what a verification needs of an API key, held in memory.
//!
//! There may be a million of them, so each is packed, and shares its owner and scopes with the others that have the same.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::api_key::{KeyForSecret, KeyStatus};
use crate::domain::caller::{Caller, Credential};
use crate::domain::issuer_policy::IssuerPolicy;
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner;
use crate::domain::scope::{RequiredScopes, Scopes};
use crate::domain::verdict::Verdict;
use crate::service::cache::heap_size::{HeapSize, allocated};
use crate::service::usage::counter::UsageCounter;
use crate::service::verify::interner::Interner;

/// A key as it was loaded for one of its secrets.
pub struct CachedKey {
    pub id: Uuid,
    pub secret_id: Uuid,
    pub owner: Arc<Owner>,
    pub scopes: Arc<Scopes>,
    /// The name, followed by the metadata as JSON unless it is empty: one allocation for both.
    text: Box<str>,
    expires_at: ExpiryMicros,
    secret_expires_at: ExpiryMicros,
    /// Counts of verifications that are not written yet.
    pub usage: UsageCounter,
    /// In seconds since the epoch, the unit of introspection.
    pub created_at: u32,
    /// In bytes. A name has at most 255 characters, or 1020 bytes.
    name_len: u16,
    /// Leaving aside expiry.
    stored_status: KeyStatus,
}

/// 128 bytes with the two counts of an `Arc`; jemalloc's next size class is 160.
const _: () = assert!(size_of::<CachedKey>() <= 112);

/// Owner and scopes are counted by their interners.
impl HeapSize for CachedKey {
    fn heap_size(&self) -> usize {
        self.text.heap_size()
    }
}

impl CachedKey {
    /// The size of a shared key's allocation.
    pub const ALLOCATION: usize = allocated(2 * size_of::<usize>() + size_of::<Self>());

    /// Packs a loaded key.
    pub fn new(key: KeyForSecret, owners: &Interner<Owner>, scopes: &Interner<Scopes>) -> Self {
        // Without `..`, so that a new field must be packed here or discarded by name.
        let KeyForSecret {
            id,
            owner,
            name,
            scopes: held,
            metadata,
            stored_status,
            created_at,
            expires_at,
            secret_id,
            secret_hash: _,
            secret_expires_at,
            last_used_at,
        } = key;
        let mut text = name.as_str().to_owned();
        let name_len = u16::try_from(text.len()).expect("a name has at most 1020 bytes");
        if !metadata.as_object().is_empty() {
            text.push_str(&metadata.to_json());
        }
        Self {
            id,
            secret_id,
            owner: owners.intern(owner),
            scopes: scopes.intern(held),
            text: text.into(),
            expires_at: expires_at.into(),
            secret_expires_at: secret_expires_at.into(),
            usage: UsageCounter::new(last_used_at),
            created_at: u32::try_from(created_at.timestamp()).unwrap_or_default(),
            name_len,
            stored_status,
        }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.text[..usize::from(self.name_len)]
    }

    /// The key's metadata.
    pub fn metadata(&self) -> Metadata {
        match &self.text[usize::from(self.name_len)..] {
            "" => Metadata::default(),
            json => Metadata::from_db(json).expect("the JSON was written by `new`"),
        }
    }

    /// The time at which the key, or the presented secret alone, expires, whichever is first.
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.expires_at.min(self.secret_expires_at).time()
    }

    /// Decides whether the key is valid for these scopes at this time.
    pub fn verdict(&self, required: &RequiredScopes, now: DateTime<Utc>) -> Verdict {
        Verdict::of(self.stored_status, self.expires_at(), &self.scopes, required, now)
    }

    /// True if nothing makes the presented secret usable again: the key is revoked, or a rotation replaced the secret and
    /// its grace period is over.
    pub fn has_ended(&self, now: DateTime<Utc>) -> bool {
        self.stored_status == KeyStatus::Revoked || self.secret_expires_at.time().is_some_and(|expiry| expiry <= now)
    }

    /// Returns the verdict under which every failed verification of this key is counted, except a missing scope. There
    /// is only one: a cached key never changes its status, and an active one can only expire.
    pub fn denial_reason(&self) -> Verdict {
        match self.stored_status {
            KeyStatus::Revoked => Verdict::Revoked,
            KeyStatus::Disabled => Verdict::Disabled,
            KeyStatus::Active | KeyStatus::Expired => Verdict::Expired,
        }
    }

    /// The caller that presents this key as its credential, under the policy of its owner's issuer.
    pub fn caller(&self, policy: IssuerPolicy) -> Caller {
        let credential = Credential::Key { id: self.id, secret_id: self.secret_id, expires_at: self.expires_at() };
        Caller { owner: self.owner.clone(), scopes: self.scopes.clone(), credential, policy }
    }
}

/// An optional expiry in 8 bytes where chrono takes 12: microseconds since the epoch, the precision of the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ExpiryMicros(i64);

impl ExpiryMicros {
    const NEVER: Self = Self(i64::MAX);

    fn time(self) -> Option<DateTime<Utc>> {
        if self == Self::NEVER { None } else { DateTime::from_timestamp_micros(self.0) }
    }
}

impl From<Option<DateTime<Utc>>> for ExpiryMicros {
    fn from(time: Option<DateTime<Utc>>) -> Self {
        time.map_or(Self::NEVER, |time| Self(time.timestamp_micros()))
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

    /// An active key without scopes.
    pub fn loaded_key(
        name: &str,
        metadata: Metadata,
        expires: Option<i64>,
        secret_expires: Option<i64>,
    ) -> KeyForSecret {
        KeyForSecret {
            id: new_id(at(1)),
            owner: Owner { issuer: "i".into(), subject: "s".into(), organization: None },
            name: KeyName::new(name).unwrap(),
            scopes: Scopes::default(),
            metadata,
            stored_status: KeyStatus::Active,
            created_at: at(1),
            expires_at: expires.map(at),
            secret_id: new_id(at(1)),
            secret_hash: SecretHash([0; 32]),
            secret_expires_at: secret_expires.map(at),
            last_used_at: None,
        }
    }

    #[test]
    fn has_ended_is_true_of_a_secret_that_cannot_come_back() {
        let of = |stored_status, expires, secret_expires| {
            let key = KeyForSecret { stored_status, ..loaded_key("n", Metadata::default(), expires, secret_expires) };
            CachedKey::new(key, &Interner::default(), &Interner::default()).has_ended(at(10))
        };
        for status in [KeyStatus::Active, KeyStatus::Disabled] {
            assert!(!of(status, None, None) && !of(status, Some(9), None), "an expiry of the key can be changed");
            assert!(!of(status, None, Some(11)) && of(status, None, Some(10)));
        }
        assert!(of(KeyStatus::Revoked, None, None));
    }

    fn named(name: &str, metadata: Metadata, expires: Option<i64>, secret_expires: Option<i64>) -> CachedKey {
        let key = loaded_key(name, metadata, expires, secret_expires);
        CachedKey::new(key, &Interner::default(), &Interner::default())
    }

    /// An active key with the name `build bot`; expiries are in seconds since the epoch.
    pub fn cached_key(metadata: Metadata, expires: Option<i64>, secret_expires: Option<i64>) -> CachedKey {
        named("build bot", metadata, expires, secret_expires)
    }

    #[test]
    fn new_keeps_name_and_metadata_apart() {
        let metadata = Metadata::from_db(&json!({ "a\0b": ["\0", { "c": null }] }).to_string()).unwrap();
        let with = cached_key(metadata.clone(), None, None);
        assert_eq!((with.name(), with.metadata()), ("build bot", metadata.clone()));
        let without = cached_key(Metadata::default(), None, None);
        assert_eq!((without.name(), without.metadata()), ("build bot", Metadata::default()));
        let longest = "🔑".repeat(KeyName::MAX);
        let long = named(&longest, metadata.clone(), None, None);
        assert_eq!((long.name(), long.metadata()), (longest.as_str(), metadata));
    }

    #[test]
    fn expires_at_is_that_of_the_key_or_of_the_secret() {
        let expiry = |key, secret| cached_key(Metadata::default(), key, secret).expires_at();
        assert_eq!(expiry(None, None), None);
        assert_eq!(expiry(Some(5), None), Some(at(5)));
        assert_eq!(expiry(Some(5), Some(4)), Some(at(4)));
        assert_eq!(expiry(Some(4), Some(5)), Some(at(4)));
        let old = cached_key(Metadata::default(), None, Some(4)).caller(IssuerPolicy::BUILT_IN);
        assert!(matches!(old.credential, Credential::Key { expires_at, .. } if expires_at == Some(at(4))));
        assert_eq!(
            cached_key(Metadata::default(), Some(5), None).verdict(&RequiredScopes::default(), at(5)),
            Verdict::Expired
        );
    }
}
