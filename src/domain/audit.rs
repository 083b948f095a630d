//! Audit event: who changed which key, when and from where. It is written in the transaction of the change.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::api_key::ApiKey;
use crate::domain::authority::MissingRight;
use crate::domain::caller::{Caller, Credential};
use crate::domain::id::new_id;
use crate::domain::owner::Owner;
use crate::domain::text_enum::text_enum;

text_enum! {
    /// What was done to a key, or was refused, or the start or end of a bulk revocation.
    pub enum Action {
        Created = "created",
        Updated = "updated",
        Enabled = "enabled",
        Disabled = "disabled",
        Rotated = "rotated",
        Revoked = "revoked",
        Deleted = "deleted",
        /// The caller lacked a right over the key; nothing was changed.
        Refused = "refused",
        BulkRevocationStarted = "bulk_revocation_started",
        /// It was completed or canceled, or it failed.
        BulkRevocationEnded = "bulk_revocation_ended",
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestSource {
    pub request_id: String,
    pub client_address: Option<IpAddr>,
    pub user_agent: Option<String>,
}

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `user`, `key` or `operator`.
    pub kind: String,
    pub issuer: String,
    pub subject: String,
    /// The acting key, if any.
    pub key_id: Option<Uuid>,
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        let (kind, key_id) = match caller.credential {
            Credential::Token => ("user", None),
            Credential::Key { id, .. } => ("key", Some(id)),
            Credential::Operator => ("operator", None),
        };
        let Owner { issuer, subject, .. } = Owner::clone(&caller.owner);
        Self { kind: kind.to_owned(), issuer, subject, key_id }
    }
}

/// One change of one key, or its refusal, or the start or end of a bulk revocation.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    pub id: Uuid,
    pub at: DateTime<Utc>,
    /// The text of an [`Action`]; a newer version may have written one that is not known here.
    pub action: String,
    pub actor: Actor,
    pub request_id: String,
    pub client_address: Option<String>,
    pub user_agent: Option<String>,
    /// The changed key; `None` if its creation was refused, and for a bulk revocation.
    pub key_id: Option<Uuid>,
    /// The owner of the key; of a bulk revocation, who requested it.
    pub owner: Owner,
    /// The changed fields with their new values, or what was refused and why; never a secret.
    pub changes: Value,
}

/// Who makes a change, from where and when: what the events of one request have in common.
pub struct AuditContext<'a> {
    pub caller: &'a Caller,
    pub source: &'a RequestSource,
    pub at: DateTime<Utc>,
}

impl AuditContext<'_> {
    /// Makes the event of a change. A creation has the id of the key: it is stored in the key's own row.
    pub fn event(&self, action: Action, key: &ApiKey, changes: Value) -> AuditEvent {
        let id = if action == Action::Created { key.id } else { new_id(self.at) };
        self.event_of(id, action, Some(key.id), &key.owner, changes)
    }

    /// Makes the event of an operation that was refused. The key is the caller's: those of others it does not see.
    pub fn refusal(&self, operation: &str, key_id: Option<Uuid>, right: &MissingRight) -> AuditEvent {
        let changes = match right {
            MissingRight::Scope(scope) | MissingRight::ScopeOfToken(scope) => {
                json!({ "operation": operation, "missing_scope": scope })
            }
            MissingRight::Lifetime { key_expires_at, caller_expires_at } => json!({
                "operation": operation,
                "key_expires_at": key_expires_at,
                "caller_expires_at": caller_expires_at,
            }),
        };
        self.event_of(new_id(self.at), Action::Refused, key_id, &self.caller.owner, changes)
    }

    fn event_of(&self, id: Uuid, action: Action, key_id: Option<Uuid>, owner: &Owner, changes: Value) -> AuditEvent {
        let owner = owner.clone();
        EventContent { id, at: self.at, action, key_id, owner, changes }.by(self.origin())
    }

    /// Who makes the change and from where, in a form that outlives the request.
    pub fn origin(&self) -> AuditOrigin {
        AuditOrigin { actor: Actor::from(self.caller), source: self.source.clone() }
    }
}

/// Who made a request, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditOrigin {
    pub actor: Actor,
    pub source: RequestSource,
}

/// What an event says beside its origin.
pub struct EventContent {
    pub id: Uuid,
    pub at: DateTime<Utc>,
    pub action: Action,
    pub key_id: Option<Uuid>,
    pub owner: Owner,
    pub changes: Value,
}

impl EventContent {
    pub fn by(self, AuditOrigin { actor, source }: AuditOrigin) -> AuditEvent {
        let Self { id, at, action, key_id, owner, changes } = self;
        AuditEvent {
            id,
            at,
            action: action.as_str().to_owned(),
            actor,
            request_id: source.request_id,
            client_address: source.client_address.map(|address| address.to_string()),
            user_agent: source.user_agent,
            key_id,
            owner,
            changes,
        }
    }
}
