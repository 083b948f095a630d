//! Issuer policy: what callers from one issuer may do, as the operator has configured it.

use chrono::TimeDelta;

use crate::domain::text_enum::text_enum;

/// The limits that apply to callers whose owner is of one issuer, with a token or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssuerPolicy {
    /// The scopes that its tokens may put on keys.
    pub grants: Grants,
    /// True if a token needs `api-keys:write` to create, change or rotate keys.
    pub requires_write: bool,
    /// The longest lifetime of a key, counted from its creation.
    pub max_lifetime: Option<TimeDelta>,
    /// True if its administrators reach the keys of every issuer and organization, rather than of their own alone.
    pub operators: bool,
}

text_enum! {
    /// The scopes that a token may put on a key. Those of this service's own operations (`api-keys:*`) are granted only
    /// by a caller that has them, whatever the policy. A key as caller grants only its own scopes.
    pub enum Grants {
        /// Any scope.
        Any = "any",
        /// The scopes of the token.
        Token = "token",
        /// The scopes that the deployment allows (`--allowed-scopes`).
        AllowedScopes = "allowed-scopes",
    }
}

impl IssuerPolicy {
    /// Limits nothing: for the operator, who has access to the store itself.
    pub const UNLIMITED: Self =
        Self { grants: Grants::Any, requires_write: false, max_lifetime: None, operators: true };

    /// For tokens of the built-in issuer, which are for development: they grant any scope, and administer their own
    /// issuer alone.
    pub const BUILT_IN: Self = Self { operators: false, ..Self::UNLIMITED };

    /// For owners of an issuer that is not configured. Only keys can be such callers, and they grant only their own
    /// scopes and never beyond their own expiry.
    pub const UNKNOWN_ISSUER: Self =
        Self { grants: Grants::Token, requires_write: true, max_lifetime: None, operators: false };

    /// The policy with this maximum, too, if there is one: the shorter one applies.
    pub fn with_max_lifetime(self, max: Option<TimeDelta>) -> Self {
        let max_lifetime = self.max_lifetime.into_iter().chain(max).min();
        Self { max_lifetime, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_max_lifetime_keeps_the_shorter_maximum() {
        let policy =
            |max: Option<i64>| IssuerPolicy { max_lifetime: max.map(TimeDelta::days), ..IssuerPolicy::BUILT_IN };
        for (own, other, shorter) in
            [(None, None, None), (Some(1), None, Some(1)), (None, Some(2), Some(2)), (Some(2), Some(1), Some(1))]
        {
            assert_eq!(policy(own).with_max_lifetime(other.map(TimeDelta::days)), policy(shorter));
        }
    }
}
