//! Revocation job: a bulk revocation. It continues, across restarts, until it has examined every key that existed when it
//! was requested.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::access::AdminAccess;
use crate::domain::api_key::{ApiKey, Revocation};
use crate::domain::audit::{Action, AuditEvent, AuditOrigin, EventContent};
use crate::domain::id::{first_id_after, new_id};
use crate::domain::owner::Owner;
use crate::domain::text_enum::text_enum;

text_enum! {
    /// How far a job is.
    pub enum JobStatus {
        /// It has examined no key yet.
        Queued = "queued",
        Running = "running",
        /// It has examined all keys, and every key that matches is revoked.
        Completed = "completed",
        /// It was stopped by an administrator. What it had revoked stays revoked.
        Canceled = "canceled",
        /// It was given up after repeated errors. What it had revoked stays revoked.
        Failed = "failed",
    }
}

/// The keys that a job revokes: those that match every value that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RevocationFilter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// The key that created them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by_key: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_before: Option<DateTime<Utc>>,
}

impl RevocationFilter {
    /// True if the filter matches every key.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// An id that is greater than the ids of all keys that match: an id has the time of the key's creation. A key of the
    /// last millisecond may still not match, because `created_at` is finer.
    pub fn ids_below(&self) -> Uuid {
        self.created_before.map_or(Uuid::max(), first_id_after)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationJob {
    pub id: Uuid,
    pub status: JobStatus,
    /// The issuer and the organization that the administrator reached at the request; `None` for all.
    pub reach_issuer: Option<String>,
    pub reach_organization: Option<String>,
    pub filter: RevocationFilter,
    pub reason: Option<String>,
    /// Whether the descendants of the matching keys are revoked, too.
    pub descendants: bool,
    pub origin: AuditOrigin,
    /// The organization of the actor.
    pub actor_organization: Option<String>,
    /// Keys with lower ids have not been examined yet.
    pub unexamined_below: Uuid,
    pub examined: u64,
    /// The number of revoked keys, descendants included.
    pub revoked: u64,
    pub revoked_descendants: u64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// `None` until it is completed, canceled or failed.
    pub completed_at: Option<DateTime<Utc>>,
}

impl RevocationJob {
    /// Whose keys the job may revoke: those that its administrator reached when it was requested.
    pub fn reach(&self) -> AdminAccess<'_> {
        match (&self.reach_issuer, &self.reach_organization) {
            (None, _) => AdminAccess::Any,
            (Some(issuer), None) => AdminAccess::Issuer(issuer),
            (Some(issuer), Some(organization)) => AdminAccess::Organization { issuer, organization },
        }
    }

    /// The revocation of a key at this time.
    pub fn revocation(&self, at: DateTime<Utc>) -> Revocation {
        Revocation { at, by: self.origin.actor.subject.clone(), reason: self.reason.clone() }
    }

    /// The event of the revocation of a key, or of a descendant of the key with the id `root`.
    pub fn revoked_event(&self, key: &ApiKey, root: Option<Uuid>, at: DateTime<Utc>) -> AuditEvent {
        let mut changes = json!({ "reason": self.reason });
        if let Some(root) = root {
            changes["descendant_of"] = json!(root);
        }
        changes["job_id"] = json!(self.id);
        let (key_id, owner) = (Some(key.id), key.owner.clone());
        EventContent { id: new_id(at), at, action: Action::Revoked, key_id, owner, changes }.by(self.origin.clone())
    }

    pub fn started_event(&self) -> AuditEvent {
        let changes = json!({
            "job_id": self.id,
            "filter": self.filter,
            "reason": self.reason,
            "descendants": self.descendants,
        });
        self.job_event(Action::BulkRevocationStarted, self.created_at, self.origin.clone(), changes)
    }

    /// The event of the end of the job, as it is now. `origin` is who canceled it; otherwise who requested it.
    pub fn ended_event(&self, origin: Option<AuditOrigin>) -> AuditEvent {
        let changes = json!({
            "job_id": self.id,
            "status": self.status.as_str(),
            "examined": self.examined,
            "revoked": self.revoked,
        });
        let origin = origin.unwrap_or_else(|| self.origin.clone());
        self.job_event(Action::BulkRevocationEnded, self.updated_at, origin, changes)
    }

    fn job_event(&self, action: Action, at: DateTime<Utc>, origin: AuditOrigin, changes: Value) -> AuditEvent {
        let owner = Owner {
            issuer: self.origin.actor.issuer.clone(),
            subject: self.origin.actor.subject.clone(),
            organization: self.actor_organization.clone(),
        };
        EventContent { id: new_id(at), at, action, key_id: None, owner, changes }.by(origin)
    }

    /// Ends the job.
    pub fn end(&mut self, status: JobStatus, at: DateTime<Utc>) {
        self.status = status;
        self.updated_at = at;
        self.completed_at = Some(at);
    }
}
