//! Rows: between a table's columns and the domain's words.

use entity::{api_key, secret};
use sea_orm::ActiveValue::Set;
use sea_orm::DbErr;
use uuid::Uuid;

use super::list::words;
use crate::domain::caller::Owner;
use crate::domain::key::{ApiKey, Revocation, StoredSecret};
use crate::domain::metadata::Metadata;
use crate::domain::name::KeyName;
use crate::domain::scope::{Scope, Scopes};
use crate::domain::secret::SecretHash;

pub fn key_row(key: &ApiKey) -> api_key::ActiveModel {
    let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
    let revocation = key.revocation.as_ref();
    api_key::ActiveModel {
        id: Set(key.id),
        owner_issuer: Set(key.owner.issuer.clone()),
        owner_subject: Set(key.owner.subject.clone()),
        organization: Set(key.owner.organization.clone()),
        name: Set(key.name.as_str().to_owned()),
        name_words: Set(words(key.name.as_str()).map(|word| format!(" {word}")).collect()),
        scopes: Set(serde_json::to_string(&scopes).expect("a list of strings can always be written")),
        metadata: Set(key.metadata.to_json()),
        enabled: Set(key.enabled),
        start: Set(key.start.clone()),
        last4: Set(key.last4.clone()),
        created_at: Set(key.created_at),
        updated_at: Set(key.updated_at),
        expires_at: Set(key.expires_at),
        revoked_at: Set(revocation.map(|revocation| revocation.at)),
        revoked_by: Set(revocation.map(|revocation| revocation.by.clone())),
        revoke_reason: Set(revocation.and_then(|revocation| revocation.reason.clone())),
        deleted_at: Set(key.deleted_at),
        revision: Set(key.revision),
    }
}

pub fn read_key(row: api_key::Model) -> Result<ApiKey, DbErr> {
    Ok(ApiKey {
        id: row.id,
        metadata: read_metadata(row.id, &row.metadata)?,
        scopes: read_scopes(row.id, &row.scopes)?,
        owner: Owner { issuer: row.owner_issuer, subject: row.owner_subject, organization: row.organization },
        name: KeyName::stored(row.name),
        enabled: row.enabled,
        start: row.start,
        last4: row.last4,
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

pub fn secret_row(key: Uuid, secret: &StoredSecret) -> secret::ActiveModel {
    secret::ActiveModel {
        id: Set(secret.id),
        key_id: Set(key),
        hash: Set(secret.hash.0.to_vec()),
        pepper_id: Set(secret.pepper_id.clone()),
        start: Set(secret.start.clone()),
        last4: Set(secret.last4.clone()),
        created_at: Set(secret.created_at),
        expires_at: Set(secret.expires_at),
        last_used_at: Set(secret.last_used_at),
    }
}

pub fn read_secret(row: secret::Model) -> Result<StoredSecret, DbErr> {
    Ok(StoredSecret {
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
    Ok(Scopes::carried(scopes.iter().map(String::as_str)))
}

pub fn read_metadata(key: Uuid, json: &str) -> Result<Metadata, DbErr> {
    Metadata::stored(json).map_err(|error| damaged(key, &error))
}

pub fn read_hash(secret: Uuid, hash: &[u8]) -> Result<SecretHash, DbErr> {
    let hash = hash.try_into().map_err(|_| DbErr::Custom(format!("secret {secret} has no 32-byte hash")))?;
    Ok(SecretHash(hash))
}

fn damaged(key: Uuid, error: &serde_json::Error) -> DbErr {
    DbErr::Custom(format!("key {key} cannot be read: {error}"))
}
