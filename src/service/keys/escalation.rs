//! Test of the rule that no sequence of operations gives a secret more than its caller could have been granted.
//!
//! Random callers run random operations on the keys of one owner: users with different scopes, and the secrets that were
//! issued on the way, old ones in their grace period included. After each operation, what each secret can do is compared
//! with what it could do before: anything more must be the caller's to give.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use crate::domain::api_key::{ApiKey, KeyRecord, KeyStatus, SecretRecord};
use crate::domain::audit::{AuditContext, RequestSource};
use crate::domain::authority::{KeyAction, authorize};
use crate::domain::caller::{Caller, Credential};
use crate::domain::issuer_policy::{Grants, IssuerPolicy};
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::scope::Scopes;
use crate::domain::secret::{Entropy, Secret};
use crate::service::keys::create::new_key;
use crate::service::keys::delete::delete;
use crate::service::keys::rotate::{Rotation, rotate};
use crate::service::keys::tests::{at, caller, secret};
use crate::service::keys::update::update;
use crate::service::keys::{KeyPatch, NewKey, NewSecret, RequestedExpiry};
use crate::store::KeyChange;

const SCOPES: [&str; 3] = ["https://A.example/x,y;z+*", "api-keys:write", "api-keys:admin"];

/// The scopes of each user's token, the scopes that its issuer lets it grant, and the longest life of a key in seconds.
const USERS: [(&[&str], Grants, Option<i64>); 5] = [
    (&[], Grants::Any, None),
    (&["https://A.example/x,y;z+*", "api-keys:write"], Grants::AllowedScopes, None),
    (&["api-keys:write", "api-keys:admin"], Grants::Any, None),
    (&["api-keys:admin"], Grants::Token, Some(40)),
    (&[], Grants::Token, Some(20)),
];

#[derive(Debug, Clone)]
enum Call {
    Create {
        scopes: Scopes,
        lifetime: Option<i64>,
    },
    Update {
        scopes: Option<Scopes>,
        lifetime: Option<Option<i64>>,
        enabled: Option<bool>,
        metadata: bool,
    },
    Rotate {
        grace: i64,
    },
    Delete,
    /// Sends a create or rotate again with its `Idempotency-Key`.
    Replay,
}

/// One call. The numbers choose among what there is: a caller, and a key or a saved response.
#[derive(Debug, Clone)]
struct Step {
    wait: i64,
    caller: usize,
    target: usize,
    operation: Call,
}

#[derive(Default)]
struct World {
    now: i64,
    keys: Vec<KeyRecord>,
    /// By whom a secret was issued: the id of the calling key, or nil for the user; the key's id, and the secret's.
    saved: Vec<(Uuid, Uuid, Uuid)>,
    issued: u8,
}

/// What the holder of a secret can do: these scopes until this time.
type Power = (Scopes, DateTime<Utc>);

fn power(key: &ApiKey, secret: &SecretRecord, now: DateTime<Utc>) -> Option<Power> {
    let end = [key.expires_at, secret.expires_at].into_iter().flatten().min().unwrap_or(DateTime::<Utc>::MAX_UTC);
    (key.status(now) == KeyStatus::Active && end > now).then(|| (key.scopes.clone(), end))
}

/// What the caller can give, stated apart from the code under test.
fn can_give(caller: &Caller, (scopes, end): &Power) -> bool {
    let life = match caller.credential {
        Credential::Key { expires_at: Some(expires_at), .. } => *end <= expires_at,
        _ => true,
    };
    let grants_others = caller.credential == Credential::Token && caller.policy.grants != Grants::Token;
    life && scopes.iter().all(|scope| {
        caller.scopes.contains(scope.as_str()) || (grants_others && !scope.as_str().starts_with("api-keys:"))
    })
}

impl World {
    fn secrets(&self) -> Vec<(Uuid, Option<Power>)> {
        let of = |record: &KeyRecord| {
            let power = |secret: &SecretRecord| (secret.id, power(&record.key, secret, at(self.now)));
            record.secrets.iter().map(power).collect::<Vec<_>>()
        };
        self.keys.iter().flat_map(of).collect()
    }

    /// Returns a user, or the caller that a valid secret authenticates.
    fn caller(&self, number: usize) -> Caller {
        let valid = self.keys.iter().flat_map(|record| record.secrets.iter().map(move |secret| (&record.key, secret)));
        let valid: Vec<_> = valid.filter(|(key, secret)| power(key, secret, at(self.now)).is_some()).collect();
        let number = number % (USERS.len() + valid.len());
        if let Some((scopes, grants, max_lifetime)) = USERS.get(number) {
            let max_lifetime = max_lifetime.map(TimeDelta::seconds);
            let policy = IssuerPolicy { grants: *grants, max_lifetime, ..IssuerPolicy::BUILT_IN };
            return Caller { policy, ..caller(Credential::Token, scopes) };
        }
        let (key, secret) = valid[number - USERS.len()];
        let expires_at = [key.expires_at, secret.expires_at].into_iter().flatten().min();
        Caller {
            scopes: key.scopes.clone().into(),
            ..caller(Credential::Key { id: key.id, secret_id: secret.id, expires_at }, &[])
        }
    }

    fn mint(&mut self) -> NewSecret {
        self.issued += 1;
        let entropy = Entropy::fixed([self.issued; 32]);
        NewSecret {
            secret: Secret::mint(&"mk".parse().unwrap(), &entropy, at(self.now)),
            record: secret(self.now, None),
        }
    }

    fn run(&mut self, caller: &Caller, target: usize, operation: Call) -> Result<(), TestCaseError> {
        let audit = AuditContext { caller, source: &RequestSource::default(), at: at(self.now) };
        let caller_id = match caller.credential {
            Credential::Key { id, .. } => id,
            Credential::Token | Credential::Operator => Uuid::nil(),
        };
        let visible: Vec<_> = (0..self.keys.len()).filter(|&index| self.keys[index].key.deleted_at.is_none()).collect();
        let index = (!visible.is_empty()).then(|| visible[target % visible.len()]);
        match (operation, index) {
            (Call::Create { scopes, lifetime }, _) => {
                let NewSecret { record, .. } = self.mint();
                let expiry = lifetime.map(|seconds| RequestedExpiry::After(TimeDelta::seconds(seconds)));
                let name = KeyName::from_db("n".into());
                let new = NewKey { name, scopes, metadata: Metadata::default(), expiry };
                if let Ok(key) = new_key(&audit, &caller.owner, new, &record, None, None) {
                    self.saved.push((caller_id, key.id, record.id));
                    self.keys.push(KeyRecord { key, secrets: vec![record] });
                }
            }
            (Call::Update { scopes, lifetime, enabled, metadata }, Some(index)) => {
                let expires_at = lifetime.map(|lifetime| lifetime.map(|seconds| at(self.now + seconds)));
                let metadata = metadata.then(|| json!({ "at": self.now }).as_object().cloned());
                let patch = KeyPatch { name: None, scopes, metadata, expires_at, enabled };
                self.apply(index, update(self.keys[index].clone(), patch, None, &audit).ok());
            }
            (Call::Rotate { grace }, Some(index)) => {
                let before = self.keys[index].clone();
                let secret = self.mint();
                let (id, replaces) = (secret.record.id, before.secrets.first().map(|secret| secret.id));
                let rotation = Rotation { secret, grace: TimeDelta::seconds(grace), replaces };
                if let Ok((change, _)) = rotate(before, rotation, &audit) {
                    self.saved.push((caller_id, self.keys[index].key.id, id));
                    self.apply(index, Some(change));
                }
            }
            (Call::Delete, Some(index)) => self.apply(index, Some(delete(self.keys[index].clone(), &audit))),
            (Call::Replay, _) => self.replay(caller, caller_id, target)?,
            (_, None) => {}
        }
        Ok(())
    }

    fn apply(&mut self, index: usize, change: Option<KeyChange>) {
        if let Some(change) = change {
            (self.keys[index], _) = change.into_parts();
        }
    }

    /// Checks that a saved secret is sent again only to a caller that could give it what it can do now. A key gets its
    /// own secret whenever it asks: it is the same key.
    fn replay(&self, caller: &Caller, caller_id: Uuid, target: usize) -> Result<(), TestCaseError> {
        let saved: Vec<_> = self.saved.iter().filter(|(by, ..)| *by == caller_id).collect();
        if saved.is_empty() {
            return Ok(());
        }
        let (_, key_id, secret_id) = saved[target % saved.len()];
        let record = self.keys.iter().find(|record| record.key.id == *key_id).unwrap();
        if authorize(caller, KeyAction::Replay(&record.key)).is_ok() {
            let sent = record.secrets.iter().find(|secret| secret.id == *secret_id);
            let power = sent.and_then(|secret| power(&record.key, secret, at(self.now)));
            let is_own = caller_id == *key_id;
            prop_assert!(is_own || power.is_none_or(|power| can_give(caller, &power)), "replayed {:?}", record.key);
        }
        Ok(())
    }

    /// Checks that each secret that can do more than before can do only what the caller could give it.
    fn check_gains(&self, caller: &Caller, before: &[(Uuid, Option<Power>)]) -> Result<(), TestCaseError> {
        for (id, after) in self.secrets() {
            let Some((scopes, end)) = after else { continue };
            let before = before.iter().find(|(known, _)| *known == id).and_then(|(_, power)| power.as_ref());
            let had = |scope: &str| before.is_some_and(|(held, until)| held.contains(scope) && *until >= end);
            let gained = scopes.iter().map(|scope| scope.as_str()).filter(|scope| !had(scope));
            let gained = Scopes::from_untrusted_lossy(gained);
            let lives_longer = before.is_none_or(|(_, until)| *until < end);
            if lives_longer || gained.iter().next().is_some() {
                prop_assert!(can_give(caller, &(gained, end)), "{caller:?} gave too much to {id}");
            }
        }
        Ok(())
    }
}

impl World {
    fn expiries(&self) -> Vec<(Uuid, DateTime<Utc>)> {
        self.keys
            .iter()
            .map(|KeyRecord { key, .. }| (key.id, key.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC)))
            .collect()
    }

    /// Checks that no key that is new or ends later than before ends after the longest life that the caller may give.
    fn check_lifetimes(&self, caller: &Caller, before: &[(Uuid, DateTime<Utc>)]) -> Result<(), TestCaseError> {
        let Some(max) = caller.policy.max_lifetime else { return Ok(()) };
        for ((id, end), KeyRecord { key, .. }) in self.expiries().into_iter().zip(&self.keys) {
            let before = before.iter().find(|(known, _)| *known == id).map(|(_, end)| *end);
            let is_later = before.is_none_or(|before| before < end);
            prop_assert!(!is_later || end <= key.created_at + max, "{caller:?} lets {id} live until {end}");
        }
        Ok(())
    }
}

fn some_scopes() -> impl Strategy<Value = Scopes> {
    prop::sample::subsequence(SCOPES.to_vec(), 0..=SCOPES.len()).prop_map(Scopes::from_untrusted_lossy)
}

/// Most updates change one field, so that one that is refused does not hide what another would do.
fn rarely<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.3, value)
}

fn call() -> impl Strategy<Value = Call> {
    let lifetime = || prop::option::of(1..100i64);
    prop_oneof![
        3 => (some_scopes(), lifetime()).prop_map(|(scopes, lifetime)| Call::Create { scopes, lifetime }),
        6 => (rarely(some_scopes()), rarely(lifetime()), rarely(any::<bool>()), any::<bool>()).prop_map(
            |(scopes, lifetime, enabled, metadata)| Call::Update { scopes, lifetime, enabled, metadata }
        ),
        3 => (0..50i64).prop_map(|grace| Call::Rotate { grace }),
        1 => Just(Call::Delete),
        2 => Just(Call::Replay),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    (0..20i64, any::<usize>(), any::<usize>(), call()).prop_map(|(wait, caller, target, operation)| Step {
        wait,
        caller,
        target,
        operation,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_sequence_of_operations_escalates(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World { now: 1_000, ..World::default() };
        for Step { wait, caller, target, operation } in steps {
            world.now += wait;
            let caller = world.caller(caller);
            let (secrets, expiries) = (world.secrets(), world.expiries());
            world.run(&caller, target, operation)?;
            world.check_gains(&caller, &secrets)?;
            world.check_lifetimes(&caller, &expiries)?;
        }
    }
}
