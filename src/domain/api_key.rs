//! API key: a named credential of one owner. Its id never changes; its secret can be rotated.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner;
use crate::domain::scope::Scopes;
use crate::domain::secret_hash::SecretHash;
use crate::domain::text_enum::text_enum;

/// A hundred years. A longer lifetime is taken for a mistake.
pub const MAX_LIFETIME: TimeDelta = TimeDelta::days(100 * 365);

/// A key without its secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    pub id: Uuid,
    pub owner: Owner,
    /// The key that created it, if its creation was authenticated with one: its parent in a tree of keys.
    pub created_by_key: Option<Uuid>,
    pub name: KeyName,
    pub scopes: Scopes,
    pub metadata: Metadata,
    /// False if its owner has switched it off.
    pub enabled: bool,
    /// The prefix and the first four characters of the newest secret.
    pub start: String,
    /// The last four characters of the newest secret.
    pub last4: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// The first instant at which the key is invalid.
    pub expires_at: Option<DateTime<Utc>>,
    pub revocation: Option<Revocation>,
    /// When its owner deleted it; since then only administrators and the audit see it.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Incremented by every change. The `ETag` of the key.
    pub revision: i64,
}

/// Who revoked a key, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub at: DateTime<Utc>,
    /// The subject of the caller.
    pub by: String,
    pub reason: Option<String>,
}

text_enum! {
    /// Whether a key can be used.
    pub enum KeyStatus {
        Active = "active",
        /// Its expiry has passed.
        Expired = "expired",
        /// Its owner has switched it off, and can switch it on again.
        Disabled = "disabled",
        /// Permanently unusable.
        Revoked = "revoked",
    }
}

impl KeyStatus {
    /// The status that is stored, leaving aside expiry. What cannot be undone takes precedence.
    pub const fn ignoring_expiry(is_revoked: bool, is_enabled: bool) -> Self {
        if is_revoked {
            Self::Revoked
        } else if !is_enabled {
            Self::Disabled
        } else {
            Self::Active
        }
    }
}

impl ApiKey {
    /// The status at this time.
    pub fn status(&self, now: DateTime<Utc>) -> KeyStatus {
        match KeyStatus::ignoring_expiry(self.revocation.is_some(), self.enabled) {
            KeyStatus::Active if self.expires_at.is_some_and(|expiry| expiry <= now) => KeyStatus::Expired,
            stored => stored,
        }
    }
}

/// A key as looked up by one of its secrets: what a verification needs.
#[derive(Debug, Clone)]
pub struct KeyForSecret {
    pub id: Uuid,
    pub owner: Owner,
    pub name: KeyName,
    pub scopes: Scopes,
    pub metadata: Metadata,
    /// Leaving aside expiry.
    pub stored_status: KeyStatus,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub secret_id: Uuid,
    pub secret_hash: SecretHash,
    /// When the secret alone expires, because a rotation replaced it.
    pub secret_expires_at: Option<DateTime<Utc>>,
    /// The last use of the secret that was written.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// What the store keeps of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRecord {
    pub id: Uuid,
    pub hash: SecretHash,
    pub pepper_id: String,
    pub start: String,
    pub last4: String,
    pub created_at: DateTime<Utc>,
    /// When this secret alone expires, because a rotation replaced it.
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

impl SecretRecord {
    /// True unless the secret alone has expired.
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|expiry| now < expiry)
    }
}

/// A key and its secrets, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRecord {
    pub key: ApiKey,
    pub secrets: Vec<SecretRecord>,
}

impl KeyRecord {
    /// The secrets that have not expired, newest first.
    pub fn live_secrets(&self, now: DateTime<Utc>) -> impl Iterator<Item = &SecretRecord> {
        self.secrets.iter().filter(move |secret| secret.is_live(now))
    }

    /// During the grace period of a rotation, true if the users of the old secret have switched: the new secret was used,
    /// and the old one was not since the new one exists. `None` outside a grace period.
    pub fn safe_to_retire(&self, now: DateTime<Utc>) -> Option<bool> {
        let mut live = self.live_secrets(now);
        let (new, old) = (live.next()?, live.next()?);
        Some(new.last_used_at.is_some() && old.last_used_at.is_none_or(|used| used < new.created_at))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::domain::id::new_id;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// An active key without scopes, made one second after the epoch, that expires nine seconds later.
    pub fn key() -> ApiKey {
        ApiKey {
            id: new_id(at(1)),
            owner: Owner { issuer: "i".into(), subject: "s".into(), organization: None },
            created_by_key: None,
            name: KeyName::from_db("n".into()),
            scopes: Scopes::default(),
            metadata: Metadata::default(),
            enabled: true,
            start: String::new(),
            last4: String::new(),
            created_at: at(1),
            updated_at: at(1),
            expires_at: Some(at(10)),
            revocation: None,
            deleted_at: None,
            revision: 1,
        }
    }

    #[test]
    fn status_is_active_until_the_instant_of_expiry() {
        assert_eq!(key().status(at(9)), KeyStatus::Active);
        assert_eq!(key().status(at(10)), KeyStatus::Expired);
    }

    #[test]
    fn status_prefers_revoked_to_disabled_to_expired() {
        let disabled = ApiKey { enabled: false, ..key() };
        assert_eq!(disabled.status(at(10)), KeyStatus::Disabled);
        let revocation = Some(Revocation { at: at(2), by: "s".into(), reason: None });
        assert_eq!(ApiKey { revocation, ..disabled }.status(at(10)), KeyStatus::Revoked);
    }

    #[test]
    fn safe_to_retire_once_only_the_new_secret_is_used() {
        let secret = |created, used: Option<i64>, expires: Option<i64>| SecretRecord {
            id: new_id(at(created)),
            hash: SecretHash([0; 32]),
            pepper_id: String::new(),
            start: String::new(),
            last4: String::new(),
            created_at: at(created),
            expires_at: expires.map(at),
            last_used_at: used.map(at),
        };
        let record = |new_used, old_used| KeyRecord {
            key: key(),
            secrets: vec![secret(5, new_used, None), secret(1, old_used, Some(9))],
        };
        assert_eq!(record(None, Some(2)).safe_to_retire(at(8)), Some(false), "the new secret was not used yet");
        assert_eq!(record(Some(6), Some(7)).safe_to_retire(at(8)), Some(false), "the old one is still in use");
        assert_eq!(record(Some(6), Some(2)).safe_to_retire(at(8)), Some(true));
        assert_eq!(record(Some(6), Some(2)).safe_to_retire(at(9)), None, "the grace period is over");
    }
}
