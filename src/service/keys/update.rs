//! Update: applies a JSON merge patch (RFC 7396) to the changeable fields of a key.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyRecord};
use crate::domain::audit::{Action, AuditContext, AuditEvent};
use crate::domain::authority::{KeyAction, authorize, expiry_limit, latest_expiry};
use crate::domain::caller::CallingKey;
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::precondition::Precondition;
use crate::domain::scope::Scopes;
use crate::service::errors::ServiceError;
use crate::service::keys::{KeyService, audit_fields, check_allowed, ensure_future, ensure_not_revoked};
use crate::store::KeyChange;

/// The requested changes. A field that is `None` stays unchanged; an inner `None` clears it.
#[derive(Debug, Clone, Default)]
pub struct KeyPatch {
    pub name: Option<KeyName>,
    pub scopes: Option<Scopes>,
    /// A merge patch of the metadata.
    pub metadata: Option<Option<Map<String, Value>>>,
    pub expires_at: Option<Option<DateTime<Utc>>>,
    pub enabled: Option<bool>,
}

impl KeyService {
    /// Changes a key that meets the precondition.
    pub async fn update(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        patch: KeyPatch,
        precondition: &Precondition,
    ) -> Result<KeyRecord, ServiceError> {
        let apply = |record| update(record, patch, self.allowed_scopes.as_ref(), audit);
        let calling_key = CallingKey::of(audit.caller, &self.clock);
        let result = self.change_key(access, id, calling_key, precondition, apply).await;
        self.record_refusal(audit, "update", Some(id), result).await
    }
}

/// Patches the key and records what changed. A patch without effect records nothing and keeps the revision.
pub(super) fn update(
    mut record: KeyRecord,
    patch: KeyPatch,
    allowed: Option<&Scopes>,
    audit: &AuditContext<'_>,
) -> Result<KeyChange, ServiceError> {
    ensure_not_revoked(&record.key)?;
    let mut key = apply_patch(&record.key, patch, audit)?;
    authorize(audit.caller, KeyAction::Update { before: &record.key, after: &key })?;
    check_allowed(&key.scopes, &record.key.scopes, allowed)?;
    let events = events_of(&record.key, &key, audit);
    if !events.is_empty() {
        key.updated_at = audit.at;
        key.revision += 1;
    }
    record.key = key;
    Ok(KeyChange::with_events(record, events))
}

fn apply_patch(before: &ApiKey, patch: KeyPatch, audit: &AuditContext<'_>) -> Result<ApiKey, ServiceError> {
    let KeyPatch { name, scopes, metadata, expires_at, enabled } = patch;
    let mut key = before.clone();
    if let Some(name) = name {
        key.name = name;
    }
    if let Some(scopes) = scopes {
        key.scopes = scopes;
    }
    match metadata {
        Some(Some(patch)) => {
            let merged = merge_object(before.metadata.as_object().clone(), patch);
            let invalid = |rule| ServiceError::Invalid(vec![("/metadata".into(), rule)]);
            key.metadata = Metadata::new(merged).map_err(invalid)?;
        }
        Some(None) => key.metadata = Metadata::default(),
        None => {}
    }
    match expires_at {
        Some(Some(expires_at)) => {
            ensure_future(expires_at, "/expires_at", audit.at)?;
            key.expires_at = Some(expires_at);
        }
        Some(None) => key.expires_at = latest_allowed(before, audit)?,
        None => {}
    }
    if let Some(enabled) = enabled {
        key.enabled = enabled;
    }
    Ok(key)
}

/// Returns the expiry of a key whose expiry is cleared: the latest that the caller may set.
fn latest_allowed(before: &ApiKey, audit: &AuditContext<'_>) -> Result<Option<DateTime<Utc>>, ServiceError> {
    match (latest_expiry(audit.caller, before), expiry_limit(audit.caller, before.created_at)) {
        (Some(latest), Some(limit)) if latest <= audit.at => {
            Err(ServiceError::invalid("/expires_at", format!("{limit}, which has passed; create a new key")))
        }
        (latest, _) => Ok(latest),
    }
}

/// The events that report the difference of two states of a key.
fn events_of(before: &ApiKey, after: &ApiKey, audit: &AuditContext<'_>) -> Vec<AuditEvent> {
    let (old, mut changes) = (audit_fields(before), audit_fields(after));
    changes.retain(|field, value| old.get(field) != Some(value));
    let mut events = Vec::new();
    if !changes.is_empty() {
        events.push(audit.event(Action::Updated, after, changes.into()));
    }
    if after.enabled != before.enabled {
        let action = if after.enabled { Action::Enabled } else { Action::Disabled };
        events.push(audit.event(action, after, json!({ "enabled": after.enabled })));
    }
    events
}

/// RFC 7396, section 2, with a patch that is an object.
fn merge_object(mut target: Map<String, Value>, patch: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in patch {
        let before = target.remove(&name);
        if !value.is_null() {
            target.insert(name, merge_patch(before, value));
        }
    }
    target
}

/// RFC 7396, section 2.
fn merge_patch(target: Option<Value>, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let target = match target {
        Some(Value::Object(target)) => target,
        _ => Map::new(),
    };
    Value::Object(merge_object(target, patch))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::audit::RequestSource;
    use crate::domain::caller::{Caller, Credential};
    use crate::domain::issuer_policy::IssuerPolicy;
    use crate::service::errors::ConflictReason;
    use crate::service::keys::tests::{at, caller, record};

    fn update_at_50(record: KeyRecord, patch: KeyPatch) -> Result<KeyChange, ServiceError> {
        let user = caller(Credential::Token, &[]);
        let audit = AuditContext { caller: &user, source: &RequestSource::default(), at: at(50) };
        update(record, patch, None, &audit)
    }

    #[test]
    fn update_records_each_changed_field_and_the_switch_apart() {
        let patch = KeyPatch {
            name: Some(KeyName::from_db("new".into())),
            scopes: Some(Scopes::from_untrusted_lossy(["a"])),
            enabled: Some(false),
            ..KeyPatch::default()
        };
        let change = update_at_50(record(&["a"], None), patch).unwrap();
        let (changed, events) = change.into_parts();
        let events: Vec<_> = events.into_iter().map(|event| (event.action, event.changes)).collect();
        let expected = [("updated", json!({ "name": "new" })), ("disabled", json!({ "enabled": false }))];
        assert_eq!(events, expected.map(|(action, changes)| (action.to_owned(), changes)));
        assert_eq!((changed.key.revision, changed.key.updated_at), (2, at(50)));
    }

    #[test]
    fn update_without_effect_records_nothing() {
        let before = record(&["a"], Some(100));
        let patch = KeyPatch { expires_at: Some(Some(at(100))), enabled: Some(true), ..KeyPatch::default() };
        let (after, events) = update_at_50(before.clone(), patch).unwrap().into_parts();
        assert!(events.is_empty());
        assert_eq!(after, before);
    }

    #[test]
    fn update_of_a_revoked_key_conflicts() {
        let mut revoked = record(&[], None);
        revoked.key.revocation = Some(crate::domain::api_key::Revocation { at: at(2), by: "s".into(), reason: None });
        let result = update_at_50(revoked, KeyPatch::default());
        assert!(matches!(result, Err(ServiceError::Conflict(ConflictReason::KeyRevoked))));
    }

    #[test]
    fn update_keeps_the_expiry_within_the_maximum_since_creation() {
        let policy = IssuerPolicy { max_lifetime: Some(TimeDelta::seconds(99)), ..IssuerPolicy::BUILT_IN };
        let user = Caller { policy, ..caller(Credential::Token, &[]) };
        // The record was created at 1, so that the maximum is 100.
        let expiry_after = |before: Option<i64>, requested: Option<i64>, now: i64| {
            let audit = AuditContext { caller: &user, source: &RequestSource::default(), at: at(now) };
            let patch = KeyPatch { expires_at: Some(requested.map(at)), ..KeyPatch::default() };
            let change = update(record(&[], before), patch, None, &audit);
            change.map(|change| change.into_parts().0.key.expires_at).map_err(|error| error.to_string())
        };
        for (before, requested, after) in [
            (Some(60), Some(100), Some(100)),
            (Some(60), None, Some(100)),
            (Some(60), Some(55), Some(55)),
            // Set before there was a maximum: stays, or gets shorter.
            (Some(200), Some(150), Some(150)),
            (Some(200), None, Some(200)),
            (None, Some(150), Some(150)),
            (None, None, None),
        ] {
            assert_eq!(expiry_after(before, requested, 50), Ok(after.map(at)), "{before:?} {requested:?}");
        }
        for (before, requested, now) in [(Some(60), Some(101), 50), (Some(60), Some(101), 100), (Some(60), None, 100)] {
            let error = expiry_after(before, requested, now).unwrap_err();
            assert!(error.contains("1970-01-01T00:01:40Z") && error.contains("max-lifetime"), "{error}");
        }
    }

    #[test]
    fn merge_patch_follows_the_examples_of_rfc_7396() {
        // RFC 7396, appendix A: original, patch, result.
        for (original, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            assert_eq!(merge_patch(Some(original.clone()), patch.clone()), result, "{original} + {patch}");
        }
    }
}
