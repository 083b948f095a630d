//! Caller: who makes the present request.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::owner::Owner;
use crate::domain::scope::{Scope, Scopes, reserved};

/// A user with a token, or an API key of this service that acts for its owner.
#[derive(Debug, Clone)]
pub struct Caller {
    pub owner: Arc<Owner>,
    pub scopes: Arc<Scopes>,
    pub credential: Credential,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    Token,
    Key {
        id: Uuid,
        expires_at: Option<DateTime<Utc>>,
    },
    /// The operator, at the command line of the machine that holds the store.
    Operator,
}

impl Caller {
    /// Whether the caller may do what `scope` guards. A user manages their own keys without any scope; everything
    /// else, and everything that a key does, has to be granted. Whoever can open the store needs no grant.
    pub fn has_permission(&self, scope: &str) -> bool {
        match self.credential {
            Credential::Operator => true,
            Credential::Token if scope == reserved::READ || scope == reserved::WRITE => true,
            Credential::Token | Credential::Key { .. } => self.scopes.contains(scope),
        }
    }

    /// Whether the caller may put this scope on a key. A key passes on only what it holds; a user anything, except this
    /// service's own scopes, which nobody can give who does not have them.
    pub fn can_grant(&self, scope: &Scope) -> bool {
        match self.credential {
            Credential::Operator => true,
            Credential::Token if !scope.is_reserved() => true,
            Credential::Token | Credential::Key { .. } => self.scopes.contains(scope.as_str()),
        }
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
        }
    }

    #[test]
    fn a_user_manages_keys_unasked_but_verifies_only_when_granted() {
        let user = caller(Credential::Token, &[]);
        assert!(user.has_permission(reserved::READ) && user.has_permission(reserved::WRITE));
        assert!(!user.has_permission(reserved::VERIFY) && !user.has_permission(reserved::ADMIN));
        assert!(caller(Credential::Token, &[reserved::VERIFY]).has_permission(reserved::VERIFY));
    }

    #[test]
    fn a_key_does_only_what_it_was_granted() {
        let key = Credential::Key { id: Uuid::nil(), expires_at: None };
        assert!(!caller(key.clone(), &[]).has_permission(reserved::READ));
        assert!(caller(key.clone(), &[reserved::READ]).has_permission(reserved::READ));
        assert!(!caller(key, &[reserved::READ]).has_permission(reserved::WRITE));
    }
}
