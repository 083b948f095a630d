//! Rows: between a table's columns and the domain's words.

use chrono::{DateTime, Utc};
use entity::{api_key, rotated_secret, secret};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{DbErr, DerivePartialModel};
use uuid::Uuid;

use super::search::words;
use crate::domain::api_key::{ApiKey, Revocation, SecretRecord};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner;
use crate::domain::scope::{Scope, Scopes};
use crate::domain::secret_hash::SecretHash;
use crate::store::audit_events;

/// What there is of a key in its row, beside its secret and how it was made.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "api_key::Entity")]
pub struct KeyRow {
    pub id: Uuid,
    owner_issuer: String,
    owner_subject: String,
    owner_organization: Option<String>,
    name: String,
    scopes: String,
    metadata: String,
    enabled: bool,
    secret_start: String,
    secret_last4: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    revoked_by: Option<String>,
    revoke_reason: Option<String>,
    deleted_at: Option<DateTime<Utc>>,
    revision: i64,
}

/// The row of a key that is made, as this event tells.
pub fn new_key_row(key: &ApiKey, secret: &SecretRecord, creation: &AuditEvent) -> api_key::ActiveModel {
    let Actor { kind, issuer, subject, key_id } = &creation.actor;
    let by_owner = *issuer == key.owner.issuer && *subject == key.owner.subject;
    api_key::ActiveModel {
        creation_actor_kind: Set(kind.clone()),
        creation_actor_issuer: Set((!by_owner).then(|| issuer.clone())),
        creation_actor_subject: Set((!by_owner).then(|| subject.clone())),
        creation_actor_key_id: Set(*key_id),
        creation_request_id: Set(creation.request_id.clone()),
        creation_client_address: Set(creation.client_address.clone()),
        creation_user_agent: Set(creation.user_agent.clone()),
        creation_changes: Set(audit_events::changes_json(&creation.changes)),
        // Nothing yet, of any new key.
        revoked_at: NotSet,
        revoked_by: NotSet,
        revoke_reason: NotSet,
        deleted_at: NotSet,
        ..key_row(key, secret)
    }
}

/// A key with its newest secret.
pub fn key_row(key: &ApiKey, secret: &SecretRecord) -> api_key::ActiveModel {
    let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
    let revocation = key.revocation.as_ref();
    api_key::ActiveModel {
        id: Set(key.id),
        owner_issuer: Set(key.owner.issuer.clone()),
        owner_subject: Set(key.owner.subject.clone()),
        owner_organization: Set(key.owner.organization.clone()),
        name: Set(key.name.as_str().to_owned()),
        name_words: Set(words(key.name.as_str()).map(|word| format!(" {word}")).collect()),
        scopes: Set(serde_json::to_string(&scopes).expect("a list of strings can always be written")),
        metadata: Set(key.metadata.to_json()),
        enabled: Set(key.enabled),
        secret_start: Set(key.start.clone()),
        secret_last4: Set(key.last4.clone()),
        created_at: Set(key.created_at),
        updated_at: Set(key.updated_at),
        expires_at: Set(key.expires_at),
        revoked_at: Set(revocation.map(|revocation| revocation.at)),
        revoked_by: Set(revocation.map(|revocation| revocation.by.clone())),
        revoke_reason: Set(revocation.and_then(|revocation| revocation.reason.clone())),
        deleted_at: Set(key.deleted_at),
        revision: Set(key.revision),
        secret_id: Set(secret.id),
        secret_hash: Set(secret.hash.0.to_vec()),
        secret_created_at: Set(secret.created_at),
        secret_pepper_id: Set(secret.pepper_id.clone()),
        ..Default::default()
    }
}

pub fn read_key(row: KeyRow) -> Result<ApiKey, DbErr> {
    Ok(ApiKey {
        id: row.id,
        metadata: read_metadata(row.id, &row.metadata)?,
        scopes: read_scopes(row.id, &row.scopes)?,
        owner: Owner { issuer: row.owner_issuer, subject: row.owner_subject, organization: row.owner_organization },
        name: KeyName::from_db(row.name),
        enabled: row.enabled,
        start: row.secret_start,
        last4: row.secret_last4,
        created_at: row.created_at,
        updated_at: row.updated_at,
        expires_at: row.expires_at,
        revocation: row.revoked_at.map(|at| Revocation {
            at,
            by: row.revoked_by.unwrap_or_default(),
            reason: row.revoke_reason,
        }),
        deleted_at: row.deleted_at,
        revision: row.revision,
    })
}

pub fn rotated_secret_row(key: Uuid, secret: &SecretRecord) -> Result<rotated_secret::ActiveModel, DbErr> {
    let no_end = || DbErr::Custom(format!("secret {} was replaced and has no end", secret.id));
    Ok(rotated_secret::ActiveModel {
        hash: Set(secret.hash.0.to_vec()),
        id: Set(secret.id),
        key_id: Set(key),
        pepper_id: Set(secret.pepper_id.clone()),
        start: Set(secret.start.clone()),
        last4: Set(secret.last4.clone()),
        created_at: Set(secret.created_at),
        expires_at: Set(secret.expires_at.ok_or_else(no_end)?),
    })
}

pub fn read_secret(row: secret::Model) -> Result<SecretRecord, DbErr> {
    Ok(SecretRecord {
        id: row.id,
        hash: read_hash(row.id, &row.hash)?,
        pepper_id: row.pepper_id,
        start: row.start,
        last4: row.last4,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    })
}

pub fn read_scopes(key: Uuid, json: &str) -> Result<Scopes, DbErr> {
    let scopes: Vec<String> = serde_json::from_str(json).map_err(|error| damaged(key, &error))?;
    Ok(Scopes::from_untrusted_lossy(scopes.iter().map(String::as_str)))
}

pub fn read_metadata(key: Uuid, json: &str) -> Result<Metadata, DbErr> {
    Metadata::from_db(json).map_err(|error| damaged(key, &error))
}

pub fn read_hash(secret: Uuid, hash: &[u8]) -> Result<SecretHash, DbErr> {
    let hash = hash.try_into().map_err(|_| DbErr::Custom(format!("secret {secret} has no 32-byte hash")))?;
    Ok(SecretHash(hash))
}

fn damaged(key: Uuid, error: &serde_json::Error) -> DbErr {
    DbErr::Custom(format!("key {key} cannot be read: {error}"))
}
