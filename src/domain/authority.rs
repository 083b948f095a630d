//! Authority: what a caller may do to the keys that it can see. [`authorize`] is the one place that decides it, for every
//! operation and for the command line.
//!
//! Whatever gives a key life or power needs the authority to grant all that the key then carries: a new secret, a new
//! scope, a later expiry, or enabling it. What only takes away is always allowed. Which keys a caller can see is the
//! matter of [`AccessFilter`](crate::domain::access::AccessFilter), and whether it may use an operation at all that of
//! [`Caller::has_permission`].

use chrono::{DateTime, Utc};
use thiserror::Error;

use crate::domain::api_key::ApiKey;
use crate::domain::caller::{Caller, Credential};
use crate::domain::issuer_policy::Grants;
use crate::domain::scope::{Scope, Scopes};

/// What a caller asks to do.
#[derive(Debug, Clone, Copy)]
pub enum KeyAction<'a> {
    /// To create this key.
    Create(&'a ApiKey),
    /// To change a key from one state to another.
    Update { before: &'a ApiKey, after: &'a ApiKey },
    /// To get a new secret of this key.
    Rotate(&'a ApiKey),
    /// To get the secret of this key again that an earlier request with the same `Idempotency-Key` got.
    Replay(&'a ApiKey),
    /// To revoke any key.
    Revoke,
    /// To delete any key.
    Delete,
}

/// Why a caller may not do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// The caller lacks a right over the key.
    MissingRight(MissingRight),
    /// The requested expiry is later than the caller may set; an earlier one is allowed.
    ExpiryTooLate(ExpiryLimit),
}

/// The right that a caller lacks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MissingRight {
    /// To grant this scope, which the key has or would have.
    #[error("the caller cannot grant the scope {}", .0.as_str())]
    Scope(Scope),
    /// To grant this scope with a token that does not have it, by the policy of the issuer.
    #[error("the token lacks the scope {}, and tokens of its issuer grant only scopes that they have", .0.as_str())]
    ScopeOfToken(Scope),
    /// To give life to a key that expires later than the calling key.
    #[error("the key expires {}, and the key that makes the request expires at {caller_expires_at:?}", when(.key_expires_at))]
    Lifetime { key_expires_at: Option<DateTime<Utc>>, caller_expires_at: DateTime<Utc> },
}

/// The latest expiry that a caller may give to a key. Displays as the rule that a later one breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be {at:?} at the latest, {}", .rule.description())]
pub struct ExpiryLimit {
    pub at: DateTime<Utc>,
    pub rule: ExpiryRule,
}

/// What sets the latest expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryRule {
    /// The end of the key, or of the secret in its grace period, that makes the request.
    CallingKey,
    /// The longest lifetime of a key, of the deployment or of the caller's issuer.
    MaxLifetime,
}

impl ExpiryRule {
    /// The rule as an apposition to the latest expiry.
    pub const fn description(self) -> &'static str {
        match self {
            Self::CallingKey => "the expiry of the key that makes this request",
            Self::MaxLifetime => "by the longest lifetime of a key that the setting max-lifetime allows",
        }
    }
}

/// Decides whether the caller may do this.
pub fn authorize(caller: &Caller, action: KeyAction<'_>) -> Result<(), Denial> {
    match action {
        KeyAction::Create(key) => {
            ensure_can_grant(caller, &key.scopes)?;
            ensure_within_limit(caller, key)
        }
        // A key that rotated itself repeats the request with the secret that it replaced, which ends with the grace
        // period. Otherwise a lost response would lock it out.
        KeyAction::Replay(key) if is_itself(caller, key) => Ok(()),
        KeyAction::Rotate(key) | KeyAction::Replay(key) => {
            ensure_can_grant(caller, &key.scopes)?;
            ensure_within_life_of_caller(caller, key)
        }
        KeyAction::Update { before, after } => authorize_update(caller, before, after),
        KeyAction::Revoke | KeyAction::Delete => Ok(()),
    }
}

fn authorize_update(caller: &Caller, before: &ApiKey, after: &ApiKey) -> Result<(), Denial> {
    // A key as caller changes only keys that it could have made: with fewer scopes, a stronger key would be one of them.
    if is_key(caller) {
        ensure_can_grant(caller, &before.scopes)?;
    }
    if !restores(before, after) {
        return Ok(());
    }
    ensure_can_grant(caller, &after.scopes)?;
    if ends_later(after.expires_at, before.expires_at) {
        ensure_within_limit(caller, after)
    } else {
        ensure_within_life_of_caller(caller, after)
    }
}

/// True if the change gives the key life or power that it does not have.
fn restores(before: &ApiKey, after: &ApiKey) -> bool {
    ends_later(after.expires_at, before.expires_at)
        || (after.enabled && !before.enabled)
        || after.scopes.iter().any(|scope| !before.scopes.contains(scope.as_str()))
}

/// True if the caller may put this scope on a key. A caller grants the scopes that it has. A user grants others, too, if
/// the policy of the issuer allows it, except the reserved ones.
fn can_grant(caller: &Caller, scope: &Scope) -> bool {
    let grants_others = match (&caller.credential, caller.policy.grants) {
        (Credential::Operator, _) => return true,
        (Credential::Token, Grants::Any | Grants::AllowedScopes) => !scope.is_reserved(),
        (Credential::Token, Grants::Token) | (Credential::Key { .. }, _) => false,
    };
    grants_others || caller.scopes.contains(scope.as_str())
}

fn ensure_can_grant(caller: &Caller, scopes: &Scopes) -> Result<(), Denial> {
    let Some(scope) = scopes.iter().find(|scope| !can_grant(caller, scope)) else { return Ok(()) };
    let right = if is_key(caller) || scope.is_reserved() { MissingRight::Scope } else { MissingRight::ScopeOfToken };
    Err(Denial::MissingRight(right(scope.clone())))
}

/// Returns the latest expiry that the caller may give to a key that was, or will be, created at this time; `None` if
/// there is no limit.
pub fn expiry_limit(caller: &Caller, created_at: DateTime<Utc>) -> Option<ExpiryLimit> {
    let of_caller = caller_expiry(caller).map(|at| ExpiryLimit { at, rule: ExpiryRule::CallingKey });
    let max = caller.policy.max_lifetime.map(|max| ExpiryLimit { at: created_at + max, rule: ExpiryRule::MaxLifetime });
    of_caller.into_iter().chain(max).min_by_key(|limit| limit.at)
}

/// Returns the latest expiry that the caller may leave this key with: the limit, or the present one if that is later.
pub fn latest_expiry(caller: &Caller, key: &ApiKey) -> Option<DateTime<Utc>> {
    let limit = expiry_limit(caller, key.created_at)?.at;
    key.expires_at.map(|present| present.max(limit))
}

fn ensure_within_limit(caller: &Caller, key: &ApiKey) -> Result<(), Denial> {
    match expiry_limit(caller, key.created_at) {
        Some(limit) if ends_later(key.expires_at, Some(limit.at)) => Err(Denial::ExpiryTooLate(limit)),
        _ => Ok(()),
    }
}

fn ensure_within_life_of_caller(caller: &Caller, key: &ApiKey) -> Result<(), Denial> {
    match caller_expiry(caller) {
        Some(caller_expires_at) if ends_later(key.expires_at, Some(caller_expires_at)) => {
            let key_expires_at = key.expires_at;
            Err(Denial::MissingRight(MissingRight::Lifetime { key_expires_at, caller_expires_at }))
        }
        _ => Ok(()),
    }
}

/// The end of the credential, if it is a key.
fn caller_expiry(caller: &Caller) -> Option<DateTime<Utc>> {
    match caller.credential {
        Credential::Key { expires_at, .. } => expires_at,
        Credential::Token | Credential::Operator => None,
    }
}

fn is_key(caller: &Caller) -> bool {
    matches!(caller.credential, Credential::Key { .. })
}

/// An expiry in a sentence.
fn when(expires_at: &Option<DateTime<Utc>>) -> String {
    expires_at.map_or_else(|| "never".to_owned(), |at| format!("at {at:?}"))
}

fn is_itself(caller: &Caller, key: &ApiKey) -> bool {
    matches!(caller.credential, Credential::Key { id, .. } if id == key.id)
}

/// True if the first expiry is later than the second. `None` is never.
fn ends_later(first: Option<DateTime<Utc>>, second: Option<DateTime<Utc>>) -> bool {
    second.is_some_and(|second| first.is_none_or(|first| first > second))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::api_key::{self, Revocation};
    use crate::domain::issuer_policy::IssuerPolicy;
    use crate::domain::key_name::KeyName;
    use crate::domain::owner::Owner;

    const ADMIN: &str = "api-keys:admin";
    /// Any of these, of which no two are the same scope.
    fn similar_scopes() -> impl Strategy<Value = Vec<&'static str>> {
        let all = [ADMIN, "API-KEYS:ADMIN", "api-keys:*", "*", "a", "A", "a/", "a+", "%61", "a,b", "a%20b", "a;b"];
        prop::sample::subsequence(all.to_vec(), 0..=12)
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn owner(organization: Option<&str>) -> Owner {
        Owner { issuer: "i".into(), subject: "s".into(), organization: organization.map(str::to_owned) }
    }

    fn scopes(texts: &[&str]) -> Scopes {
        Scopes::from_untrusted_lossy(texts.iter().copied())
    }

    fn user(held: &[&str], organization: Option<&str>) -> Caller {
        let (owner, scopes) = (owner(organization).into(), scopes(held).into());
        Caller { owner, scopes, credential: Credential::Token, policy: IssuerPolicy::BUILT_IN }
    }

    /// A key, or its old secret that ends then.
    fn key_caller(held: &[&str], expires_at: Option<i64>) -> Caller {
        let credential = Credential::Key { id: Uuid::max(), secret_id: Uuid::max(), expires_at: expires_at.map(at) };
        Caller { credential, ..user(held, None) }
    }

    fn callers() -> Vec<(&'static str, Caller)> {
        let operator = Caller { credential: Credential::Operator, policy: IssuerPolicy::UNLIMITED, ..user(&[], None) };
        vec![
            ("user", user(&[], None)),
            ("user of another organization", user(&[], Some("acme"))),
            ("administrator", user(&[ADMIN], None)),
            ("key with one scope", key_caller(&["a"], None)),
            ("key with all scopes", key_caller(&["a", "b", ADMIN], None)),
            ("old secret until 150", key_caller(&["a", "b", ADMIN], Some(150))),
            ("old secret until 60", key_caller(&["a", "b", ADMIN], Some(60))),
            ("operator", operator),
        ]
    }

    fn key(held: &[&str], expires_at: i64) -> ApiKey {
        ApiKey { id: Uuid::nil(), scopes: scopes(held), expires_at: Some(at(expires_at)), ..api_key::tests::key() }
    }

    /// One character for each operation, in this order: create, rename, disable, shorten by 5 seconds, drop all scopes,
    /// extend to 200, clear the expiry, enable, add the scope b, rotate, replay, revoke, delete. `y` is allowed, `s` a
    /// missing scope, `l` a missing lifetime, `e` an expiry that is too late.
    fn decisions(caller: &Caller, key: &ApiKey) -> String {
        let mut added: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
        added.push("b");
        let changed = [
            ApiKey { name: KeyName::from_db("m".into()), ..key.clone() },
            ApiKey { enabled: false, ..key.clone() },
            ApiKey { expires_at: key.expires_at.map(|expiry| expiry - chrono::TimeDelta::seconds(5)), ..key.clone() },
            ApiKey { scopes: Scopes::default(), ..key.clone() },
            ApiKey { expires_at: Some(at(200)), ..key.clone() },
            ApiKey { expires_at: None, ..key.clone() },
            ApiKey { enabled: true, ..key.clone() },
            ApiKey { scopes: scopes(&added), ..key.clone() },
        ];
        let updates = changed.iter().map(|after| KeyAction::Update { before: key, after });
        let others = [KeyAction::Rotate(key), KeyAction::Replay(key), KeyAction::Revoke, KeyAction::Delete];
        let actions = [KeyAction::Create(key)].into_iter().chain(updates).chain(others);
        let letter = |action| match authorize(caller, action) {
            Ok(()) => 'y',
            Err(Denial::MissingRight(MissingRight::Scope(_) | MissingRight::ScopeOfToken(_))) => 's',
            Err(Denial::MissingRight(MissingRight::Lifetime { .. })) => 'l',
            Err(Denial::ExpiryTooLate(_)) => 'e',
        };
        actions.map(letter).collect()
    }

    #[test]
    fn authorize_decides_by_caller_key_and_operation() {
        const ALL: &str = "yyyyyyyyyyyyy";
        let (weaker, stronger) = (&["a"][..], &["a", ADMIN][..]);
        let disabled = |key| ApiKey { enabled: false, ..key };
        // The callers in the order of `callers`.
        let table = [
            (
                "active weaker",
                key(weaker, 100),
                [ALL, ALL, ALL, "yyyyyyyysyyyy", ALL, "yyyyyeeyyyyyy", "eyyyyeeylllyy", ALL],
            ),
            (
                "active stronger",
                key(stronger, 100),
                ["syyyyssysssyy", "syyyyssysssyy", ALL, "sssssssssssyy", ALL, "yyyyyeeyyyyyy", "eyyyyeeylllyy", ALL],
            ),
            (
                "disabled weaker",
                disabled(key(weaker, 100)),
                [ALL, ALL, ALL, "yyyyyyyysyyyy", ALL, "yyyyyeeyyyyyy", "eyyyyeellllyy", ALL],
            ),
            (
                "disabled stronger",
                disabled(key(stronger, 100)),
                ["syyyyssssssyy", "syyyyssssssyy", ALL, "sssssssssssyy", ALL, "yyyyyeeyyyyyy", "eyyyyeellllyy", ALL],
            ),
            (
                "expired weaker",
                key(weaker, 10),
                [ALL, ALL, ALL, "yyyyyyyysyyyy", ALL, "yyyyyeeyyyyyy", "yyyyyeeyyyyyy", ALL],
            ),
            (
                "expired stronger",
                key(stronger, 10),
                ["syyyyssysssyy", "syyyyssysssyy", ALL, "sssssssssssyy", ALL, "yyyyyeeyyyyyy", "yyyyyeeyyyyyy", ALL],
            ),
        ];
        for (state, key, expected) in table {
            let revocation = Some(Revocation { at: at(2), by: "s".into(), reason: None });
            let revoked = ApiKey { revocation, ..key.clone() };
            for ((name, caller), expected) in callers().into_iter().zip(expected) {
                assert_eq!(decisions(&caller, &key), expected, "{name}, {state} key");
                assert_eq!(decisions(&caller, &revoked), expected, "{name}, {state} key that is revoked");
            }
        }
    }

    #[test]
    fn authorize_names_the_missing_right() {
        let strong = key(&["a", ADMIN], 100);
        let denial = authorize(&user(&[], None), KeyAction::Rotate(&strong)).unwrap_err();
        assert_eq!(denial, Denial::MissingRight(MissingRight::Scope(Scope::new(ADMIN).unwrap())));
        let old_secret = key_caller(&["a", ADMIN], Some(60));
        let denial = authorize(&old_secret, KeyAction::Rotate(&strong)).unwrap_err();
        let right = MissingRight::Lifetime { key_expires_at: Some(at(100)), caller_expires_at: at(60) };
        assert_eq!(denial, Denial::MissingRight(right.clone()));
        assert_eq!(
            right.to_string(),
            "the key expires at 1970-01-01T00:01:40Z, and the key that makes the request expires at \
             1970-01-01T00:01:00Z"
        );
        let Denial::ExpiryTooLate(limit) = authorize(&old_secret, KeyAction::Create(&strong)).unwrap_err() else {
            panic!("the expiry can be lowered")
        };
        assert_eq!(
            limit.to_string(),
            "must be 1970-01-01T00:01:00Z at the latest, the expiry of the key that makes this request"
        );
    }

    #[test]
    fn authorize_replays_to_a_key_its_own_secret() {
        let own = ApiKey { id: Uuid::max(), ..key(&["a"], 100) };
        let old_secret = key_caller(&["a"], Some(60));
        assert!(authorize(&old_secret, KeyAction::Replay(&own)).is_ok());
        assert!(authorize(&old_secret, KeyAction::Rotate(&own)).is_err());
    }

    proptest! {
        #[test]
        fn authorize_creates_with_exactly_the_scopes_that_are_held(held in similar_scopes(), requested in similar_scopes()) {
            let caller = key_caller(&held, None);
            let are_held = requested.iter().all(|scope| held.contains(scope));
            prop_assert_eq!(authorize(&caller, KeyAction::Create(&key(&requested, 100))).is_ok(), are_held);
        }
    }

    #[test]
    fn latest_expiry_never_shortens_the_life_of_a_key() {
        let (user, old_secret) = (user(&[], None), key_caller(&[], Some(60)));
        let lasting = ApiKey { expires_at: None, ..key(&[], 1) };
        for (caller, key, latest) in [
            (&user, key(&[], 50), None),
            (&old_secret, key(&[], 50), Some(at(60))),
            (&old_secret, key(&[], 100), Some(at(100))),
            (&old_secret, lasting, None),
        ] {
            assert_eq!(latest_expiry(caller, &key), latest);
        }
    }
}
