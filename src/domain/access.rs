//! Access: the keys that a request may read or change.

use crate::domain::caller::Caller;
use crate::domain::owner::Owner;

/// A restriction of queries on keys and audit events. Every such query of the store takes one, so that none can omit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFilter<'a> {
    /// The keys of one owner, without deleted ones.
    Owner(&'a Owner),
    /// The keys of the owners in one organization of one issuer, deleted ones included.
    Organization { issuer: &'a str, organization: &'a str },
    /// The keys of the owners of one issuer, deleted ones included.
    Issuer(&'a str),
    /// The keys of every owner, deleted ones included.
    Any,
}

impl<'a> AccessFilter<'a> {
    /// The keys that an administrator reaches.
    pub fn of_administrator(caller: &'a Caller) -> Self {
        AdminAccess::of_administrator(caller).into()
    }
}

/// Whose keys an administrator may read and revoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminAccess<'a> {
    /// Those of the owners in one organization of one issuer.
    Organization { issuer: &'a str, organization: &'a str },
    /// Those of the owners of one issuer.
    Issuer(&'a str),
    /// Those of every owner.
    Any,
}

impl<'a> AdminAccess<'a> {
    /// What an administrator reaches: its own organization if it has one, else its own issuer. Every owner if the
    /// operator has marked that issuer as one of operators.
    pub fn of_administrator(caller: &'a Caller) -> Self {
        let Owner { issuer, organization, .. } = &*caller.owner;
        match organization {
            _ if caller.policy.operators => Self::Any,
            Some(organization) => Self::Organization { issuer, organization },
            None => Self::Issuer(issuer),
        }
    }
}

impl<'a> From<AdminAccess<'a>> for AccessFilter<'a> {
    fn from(reach: AdminAccess<'a>) -> Self {
        match reach {
            AdminAccess::Organization { issuer, organization } => Self::Organization { issuer, organization },
            AdminAccess::Issuer(issuer) => Self::Issuer(issuer),
            AdminAccess::Any => Self::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::Credential;
    use crate::domain::issuer_policy::IssuerPolicy;

    #[test]
    fn of_administrator_is_bounded_by_issuer_and_organization() {
        let key = Credential::Key { id: uuid::Uuid::nil(), secret_id: uuid::Uuid::nil(), expires_at: None };
        for (policy, organization, reach) in [
            (IssuerPolicy::BUILT_IN, None, AccessFilter::Issuer("i")),
            (IssuerPolicy::BUILT_IN, Some("o"), AccessFilter::Organization { issuer: "i", organization: "o" }),
            (IssuerPolicy::UNKNOWN_ISSUER, None, AccessFilter::Issuer("i")),
            (IssuerPolicy::UNKNOWN_ISSUER, Some("o"), AccessFilter::Organization { issuer: "i", organization: "o" }),
            (IssuerPolicy { operators: true, ..IssuerPolicy::BUILT_IN }, None, AccessFilter::Any),
            (IssuerPolicy { operators: true, ..IssuerPolicy::BUILT_IN }, Some("o"), AccessFilter::Any),
            (IssuerPolicy::UNLIMITED, None, AccessFilter::Any),
        ] {
            for credential in [Credential::Token, key.clone()] {
                let organization = organization.map(str::to_owned);
                let owner = Owner { issuer: "i".into(), subject: "s".into(), organization };
                let caller = Caller { owner: owner.into(), scopes: Default::default(), credential, policy };
                assert_eq!(AccessFilter::of_administrator(&caller), reach, "{policy:?}");
            }
        }
    }
}
