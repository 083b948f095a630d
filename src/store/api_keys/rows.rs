//! Rows: conversions between rows and domain types.

use chrono::{DateTime, Utc};
use entity::{api_key, rotated_secret, secret};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{DbErr, DerivePartialModel};
use uuid::Uuid;

use crate::domain::api_key::{ApiKey, Revocation, SecretRecord};
use crate::domain::audit::{Actor, AuditEvent};
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::scope::{Scope, Scopes};
use crate::domain::secret_hash::SecretHash;
use crate::store::api_keys::search::words;
use crate::store::audit_events;
use crate::store::owner::{organization_column, owner_from_columns};

/// The columns of a key, without its secret and the rest of its creation event.
#[derive(DerivePartialModel)]
#[sea_orm(entity = "api_key::Entity")]
pub struct KeyRow {
    pub id: Uuid,
    owner_issuer: String,
    owner_subject: String,
    owner_organization: String,
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
    creation_actor_key_id: Option<Uuid>,
}

/// The row of a new key. `creation` is its audit event.
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
        // Null in each new row, so not part of the insert.
        revoked_at: NotSet,
        revoked_by: NotSet,
        revoke_reason: NotSet,
        deleted_at: NotSet,
        ..changed_key_row(key, secret)
    }
}

/// The row of a changed key and its current secret. Leaves the creation event as it is.
pub fn changed_key_row(key: &ApiKey, secret: &SecretRecord) -> api_key::ActiveModel {
    let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
    let revocation = key.revocation.as_ref();
    api_key::ActiveModel {
        id: Set(key.id),
        owner_issuer: Set(key.owner.issuer.clone()),
        owner_subject: Set(key.owner.subject.clone()),
        owner_organization: Set(organization_column(&key.owner).to_owned()),
        name: Set(key.name.as_str().to_owned()),
        name_words: Set(words(key.name.as_str()).map(|word| format!(" {word}")).collect()),
        scopes: Set(serde_json::to_string(&scopes).expect("a list of strings is valid JSON")),
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

pub fn key_from_row(row: KeyRow) -> Result<ApiKey, DbErr> {
    Ok(ApiKey {
        id: row.id,
        metadata: parse_metadata(row.id, &row.metadata)?,
        scopes: parse_scopes(row.id, &row.scopes)?,
        owner: owner_from_columns(row.owner_issuer, row.owner_subject, row.owner_organization),
        created_by_key: row.creation_actor_key_id,
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
    let no_expiry = || DbErr::Custom(format!("rotated secret {} has no expiry", secret.id));
    Ok(rotated_secret::ActiveModel {
        hash: Set(secret.hash.0.to_vec()),
        id: Set(secret.id),
        key_id: Set(key),
        pepper_id: Set(secret.pepper_id.clone()),
        start: Set(secret.start.clone()),
        last4: Set(secret.last4.clone()),
        created_at: Set(secret.created_at),
        expires_at: Set(secret.expires_at.ok_or_else(no_expiry)?),
    })
}

pub fn secret_from_row(row: secret::Model) -> Result<SecretRecord, DbErr> {
    Ok(SecretRecord {
        id: row.id,
        hash: parse_hash(row.id, &row.hash)?,
        pepper_id: row.pepper_id,
        start: row.start,
        last4: row.last4,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    })
}

pub fn parse_scopes(key: Uuid, json: &str) -> Result<Scopes, DbErr> {
    let scopes: Vec<String> = serde_json::from_str(json).map_err(|error| invalid_json(key, &error))?;
    Ok(Scopes::from_untrusted_lossy(scopes.iter().map(String::as_str)))
}

pub fn parse_metadata(key: Uuid, json: &str) -> Result<Metadata, DbErr> {
    Metadata::from_db(json).map_err(|error| invalid_json(key, &error))
}

pub fn parse_hash(secret: Uuid, hash: &[u8]) -> Result<SecretHash, DbErr> {
    let hash =
        hash.try_into().map_err(|_| DbErr::Custom(format!("the hash of secret {secret} is not 32 bytes long")))?;
    Ok(SecretHash(hash))
}

fn invalid_json(key: Uuid, error: &serde_json::Error) -> DbErr {
    DbErr::Custom(format!("key {key} has invalid JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use entity::api_key::{Column, Entity};
    use sea_orm::{
        ActiveModelTrait, DbBackend, EntityTrait, IdenStatic, Iterable, PartialModelTrait, QuerySelect, QueryTrait,
    };

    use super::*;
    use crate::store::api_keys::insert::tests::key_insert;

    fn is_creation(column: Column) -> bool {
        column.as_str().starts_with("creation_")
    }

    #[test]
    fn every_column_of_a_key_is_read_or_left_out_for_a_reason() {
        let left_out = [
            (Column::NameWords, "derived from the name"),
            (Column::SecretId, "read with the secrets"),
            (Column::SecretHash, "read with the secrets"),
            (Column::SecretCreatedAt, "read with the secrets"),
            (Column::SecretPepperId, "read with the secrets"),
        ];
        let query = KeyRow::select_cols(Entity::find().select_only()).build(DbBackend::Sqlite).sql;
        for column in Column::iter() {
            let is_left_out = is_creation(column) && column.as_str() != Column::CreationActorKeyId.as_str()
                || left_out.iter().any(|(left_out, _)| left_out.as_str() == column.as_str());
            assert!(
                query.contains(&format!("\"{}\"", column.as_str())) != is_left_out,
                "add {column:?} to KeyRow, or to the columns left out, with the reason"
            );
        }
    }

    #[test]
    fn every_column_of_a_key_is_written() {
        let insert = key_insert(1);
        let new = new_key_row(&insert.key, &insert.secret, &insert.event);
        let changed = changed_key_row(&insert.key, &insert.secret);
        let null_at_first = [Column::RevokedAt, Column::RevokedBy, Column::RevokeReason, Column::DeletedAt];
        for column in Column::iter() {
            let is_null = null_at_first.iter().any(|null| null.as_str() == column.as_str());
            assert_eq!(new.get(column).is_set(), !is_null, "the row of a new key sets {column:?}");
            assert_eq!(changed.get(column).is_set(), !is_creation(column), "the row of a changed key sets {column:?}");
        }
    }
}
