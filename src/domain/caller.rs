//! Caller: who makes a request, and which operations they may use.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::api_key::{KeyRecord, KeyStatus};
use crate::domain::clock::Clock;
use crate::domain::issuer_policy::IssuerPolicy;
use crate::domain::owner::Owner;
use crate::domain::scope::{Scopes, reserved};

/// A user with an access token, an API key that acts for its owner, or the operator.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The user, or the key's owner.
    pub owner: Arc<Owner>,
    /// The scopes of the token or the key.
    pub scopes: Arc<Scopes>,
    pub credential: Credential,
    /// The policy of the owner's issuer.
    pub policy: IssuerPolicy,
}

/// How a caller was authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// By an access token of a trusted issuer.
    Token,
    /// By an API key of this service.
    Key {
        id: Uuid,
        /// The presented secret.
        secret_id: Uuid,
        /// The end of the key, or of the presented secret alone if a rotation replaced it, whichever is first.
        expires_at: Option<DateTime<Utc>>,
    },
    /// By access to the store itself: the command line.
    Operator,
}

impl Credential {
    /// The id of the key, if it is one.
    pub const fn key_id(&self) -> Option<Uuid> {
        match self {
            Self::Key { id, .. } => Some(*id),
            Self::Token | Self::Operator => None,
        }
    }
}

impl Caller {
    /// True if the caller may use an operation that requires `scope`. Users need no scope to manage their own keys, unless
    /// the policy of their issuer requires one to create and change them; the operator needs none at all.
    pub fn has_permission(&self, scope: &str) -> bool {
        match self.credential {
            Credential::Operator => true,
            Credential::Token if scope == reserved::READ => true,
            Credential::Token if scope == reserved::WRITE && !self.policy.requires_write => true,
            Credential::Token | Credential::Key { .. } => self.scopes.contains(scope),
        }
    }

    /// True if the caller may revoke and delete keys of its owner. It only takes away, so users always may.
    pub fn can_revoke(&self) -> bool {
        matches!(self.credential, Credential::Token) || self.has_permission(reserved::WRITE)
    }
}

/// The key that authenticated a caller. It may have been revoked since, and the caller may have been authenticated from a
/// cache. So what gives anything reads the key again, in the transaction of the change.
#[derive(Debug, Clone)]
pub struct CallingKey {
    pub id: Uuid,
    secret_id: Uuid,
    scopes: Arc<Scopes>,
    clock: Clock,
}

impl CallingKey {
    /// Returns the key of a caller that is one.
    pub fn of(caller: &Caller, clock: &Clock) -> Option<Self> {
        let Credential::Key { id, secret_id, .. } = caller.credential else { return None };
        Some(Self { id, secret_id, scopes: caller.scopes.clone(), clock: clock.clone() })
    }

    /// True if the key would authenticate the same caller now: it is active, has all of the caller's scopes, and the
    /// presented secret has not expired.
    pub fn is_current(&self, stored: Option<&KeyRecord>) -> bool {
        let now = self.clock.now();
        stored.is_some_and(|record| {
            record.key.status(now) == KeyStatus::Active
                && record.key.deleted_at.is_none()
                && record.live_secrets(now).any(|secret| secret.id == self.secret_id)
                && self.scopes.iter().all(|scope| record.key.scopes.contains(scope.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(credential: Credential, scopes: &[&str]) -> Caller {
        Caller {
            owner: Owner { issuer: "i".into(), subject: "s".into(), organization: None }.into(),
            scopes: Scopes::from_untrusted_lossy(scopes.iter().copied()).into(),
            credential,
            policy: IssuerPolicy::BUILT_IN,
        }
    }

    #[test]
    fn has_permission_of_a_user_without_scopes_covers_read_and_write() {
        let user = caller(Credential::Token, &[]);
        assert!(user.has_permission(reserved::READ) && user.has_permission(reserved::WRITE));
        assert!(!user.has_permission(reserved::VERIFY) && !user.has_permission(reserved::ADMIN));
        assert!(caller(Credential::Token, &[reserved::VERIFY]).has_permission(reserved::VERIFY));
    }

    #[test]
    fn has_permission_to_write_needs_the_scope_if_the_policy_requires_it() {
        let policy = IssuerPolicy { requires_write: true, ..IssuerPolicy::BUILT_IN };
        let user = |scopes: &[&str]| Caller { policy, ..caller(Credential::Token, scopes) };
        assert!(!user(&[]).has_permission(reserved::WRITE) && user(&[reserved::WRITE]).has_permission(reserved::WRITE));
        assert!(user(&[]).has_permission(reserved::READ) && user(&[]).can_revoke());
        let key = Credential::Key { id: Uuid::nil(), secret_id: Uuid::nil(), expires_at: None };
        assert!(!caller(key.clone(), &[]).can_revoke() && caller(key, &[reserved::WRITE]).can_revoke());
    }

    #[test]
    fn has_permission_of_a_key_covers_its_scopes_alone() {
        let key = Credential::Key { id: Uuid::nil(), secret_id: Uuid::nil(), expires_at: None };
        assert!(!caller(key.clone(), &[]).has_permission(reserved::READ));
        assert!(caller(key.clone(), &[reserved::READ]).has_permission(reserved::READ));
        assert!(!caller(key, &[reserved::READ]).has_permission(reserved::WRITE));
    }
}
