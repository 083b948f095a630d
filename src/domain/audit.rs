//! Audit event: who changed which key, when and from where. Written in the transaction of the change, or not at all.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::caller::{Caller, Credential, Owner};
use super::key::{ApiKey, new_id};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Created,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
        }
    }
}

/// Where a request came from, as far as it is worth keeping.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub request_id: String,
    pub client_address: Option<IpAddr>,
    pub user_agent: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Actor {
    pub kind: ActorKind,
    pub issuer: String,
    pub subject: String,
    /// The key that acted, when it was one.
    pub key_id: Option<Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    User,
    Key,
}

impl ActorKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Key => "key",
        }
    }
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        let (kind, key_id) = match caller.credential {
            Credential::Token => (ActorKind::User, None),
            Credential::Key { id, .. } => (ActorKind::Key, Some(id)),
        };
        Self { kind, issuer: caller.owner.issuer.clone(), subject: caller.owner.subject.clone(), key_id }
    }
}

#[derive(Debug, Clone)]
pub struct AuditEvent {
    pub id: Uuid,
    pub at: DateTime<Utc>,
    pub action: Action,
    pub actor: Actor,
    pub origin: Origin,
    pub key_id: Uuid,
    pub owner: Owner,
    /// The members that changed, with their new values.
    pub changes: Value,
}

impl AuditEvent {
    pub fn new(action: Action, at: DateTime<Utc>, actor: Actor, origin: Origin, key: &ApiKey, changes: Value) -> Self {
        Self { id: new_id(at), at, action, actor, origin, key_id: key.id, owner: key.owner.clone(), changes }
    }
}
