//! Audit event: who changed which key, when and from where. Written in the transaction of the change, or not at all.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::api_key::ApiKey;
use crate::domain::caller::{Caller, Credential};
use crate::domain::id::new_id;
use crate::domain::owner::Owner;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Created,
    Updated,
    Enabled,
    Disabled,
    Rotated,
    Revoked,
    Deleted,
}

impl Action {
    pub const ALL: [Self; 7] =
        [Self::Created, Self::Updated, Self::Enabled, Self::Disabled, Self::Rotated, Self::Revoked, Self::Deleted];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Rotated => "rotated",
            Self::Revoked => "revoked",
            Self::Deleted => "deleted",
        }
    }
}

/// Where a request came from, as far as it is worth keeping.
#[derive(Debug, Clone, Default)]
pub struct RequestSource {
    pub request_id: String,
    pub client_address: Option<IpAddr>,
    pub user_agent: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub kind: String,
    pub issuer: String,
    pub subject: String,
    /// The key that acted, when it was one.
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

#[derive(Debug, Clone)]
pub struct AuditEvent {
    pub id: Uuid,
    pub at: DateTime<Utc>,
    pub action: String,
    pub actor: Actor,
    pub request_id: String,
    pub client_address: Option<String>,
    pub user_agent: Option<String>,
    pub key_id: Uuid,
    pub owner: Owner,
    /// The members that changed, with their new values; never a secret.
    pub changes: Value,
}

/// Who does something, from where and when: what every event of one request has in common.
pub struct AuditContext<'a> {
    pub caller: &'a Caller,
    pub origin: &'a RequestSource,
    pub at: DateTime<Utc>,
}

impl AuditContext<'_> {
    /// A key's creation has the key's id: it is told by the key's own row.
    pub fn event(&self, action: Action, key: &ApiKey, changes: Value) -> AuditEvent {
        AuditEvent {
            id: if action == Action::Created { key.id } else { new_id(self.at) },
            at: self.at,
            action: action.as_str().to_owned(),
            actor: Actor::from(self.caller),
            request_id: self.origin.request_id.clone(),
            client_address: self.origin.client_address.map(|address| address.to_string()),
            user_agent: self.origin.user_agent.clone(),
            key_id: key.id,
            owner: key.owner.clone(),
            changes,
        }
    }
}
