//! Update: a JSON merge patch (RFC 7396) of what may change in a key.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::KeyRecord;
use crate::domain::audit::{Action, AuditContext};
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::precondition::Precondition;
use crate::domain::scope::Scopes;
use crate::service::keys::{RequestedExpiry, allowed_expiry, described, present};
use crate::service::{Service, ServiceError};
use crate::store::KeyChange;

/// What is to change; a member that is `None` stays. The inner `None` of an expiry clears it.
#[derive(Debug, Clone, Default)]
pub struct KeyPatch {
    pub name: Option<KeyName>,
    pub scopes: Option<Scopes>,
    /// A merge patch of the metadata; `None` inside clears it.
    pub metadata: Option<Option<Map<String, Value>>>,
    pub expires_at: Option<Option<DateTime<Utc>>>,
    pub enabled: Option<bool>,
}

impl Service {
    pub async fn update_key(
        &self,
        audit: &AuditContext<'_>,
        access: AccessFilter<'_>,
        id: Uuid,
        patch: KeyPatch,
        precondition: &Precondition,
    ) -> Result<KeyRecord, ServiceError> {
        let apply = |record| {
            let record = present(record)?;
            if !precondition.is_met_by(&record.key) {
                return Err(ServiceError::PreconditionFailed);
            }
            self.patched(audit, record, patch)
        };
        self.change_key(access, id, apply).await
    }

    fn patched(&self, audit: &AuditContext<'_>, record: KeyRecord, patch: KeyPatch) -> Result<KeyChange, ServiceError> {
        let before = &record.key;
        if before.revocation.is_some() {
            return Err(ServiceError::conflict(
                "key-revoked",
                "The key is revoked, and that is for good; make a new one.",
            ));
        }
        let mut key = before.clone();
        if let Some(name) = patch.name {
            key.name = name;
        }
        if let Some(scopes) = patch.scopes {
            // What the key has already may stay, whoever asks; only what is new has to be granted.
            self.check_grant(audit.caller, &scopes, &before.scopes)?;
            key.scopes = scopes;
        }
        match patch.metadata {
            Some(Some(members)) => {
                let metadata = merged(Some(Value::Object(before.metadata.as_object().clone())), Value::Object(members));
                let Value::Object(metadata) = metadata else { unreachable!("a merge with an object is an object") };
                key.metadata =
                    Metadata::new(metadata).map_err(|rule| ServiceError::Invalid(vec![("/metadata".into(), rule)]))?;
            }
            Some(None) => key.metadata = Metadata::default(),
            None => {}
        }
        if let Some(expires_at) = patch.expires_at {
            key.expires_at = allowed_expiry(audit.caller, expires_at.map(RequestedExpiry::At), audit.at)?;
        }
        if let Some(enabled) = patch.enabled {
            key.enabled = enabled;
        }

        let (old, mut changes) = (described(before), described(&key));
        changes.retain(|member, value| old.get(member) != Some(value));
        let mut events = Vec::new();
        if !changes.is_empty() {
            events.push(audit.event(Action::Updated, &key, changes.into()));
        }
        if key.enabled != before.enabled {
            let action = if key.enabled { Action::Enabled } else { Action::Disabled };
            events.push(audit.event(action, &key, json!({ "enabled": key.enabled })));
        }
        // A patch that changes nothing is no change: no event, and the `ETag` stays.
        if !events.is_empty() {
            key.updated_at = audit.at;
            key.revision += 1;
        }
        Ok(KeyChange::with_events(KeyRecord { key, ..record }, events))
    }
}

/// RFC 7396, section 2.
fn merged(target: Option<Value>, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut target = match target {
        Some(Value::Object(target)) => target,
        _ => Map::new(),
    };
    for (name, value) in patch {
        let before = target.remove(&name);
        if !value.is_null() {
            target.insert(name, merged(before, value));
        }
    }
    Value::Object(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_follows_the_examples_of_rfc_7396() {
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
            assert_eq!(merged(Some(original.clone()), patch.clone()), result, "{original} + {patch}");
        }
    }
}
