//! Keys and their secrets.

use entity::{api_key, audit_event, secret};
use sea_orm::{ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};

use super::{Store, StoreError};
use crate::domain::audit::AuditEvent;
use crate::domain::caller::Owner;
use crate::domain::key::{ApiKey, StoredSecret};
use crate::domain::metadata::Metadata;
use crate::domain::name::KeyName;
use crate::domain::scope::{Scope, Scopes};
use crate::domain::secret::SecretHash;

impl Store {
    /// Returns when the key, its secret's hash and the event are on the disk, all of them.
    pub async fn create_key(&self, key: &ApiKey, secret: &StoredSecret, event: &AuditEvent) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        api_key::Entity::insert(key_row(key)).exec_without_returning(&transaction).await?;
        secret::Entity::insert(secret_row(key, secret)).exec_without_returning(&transaction).await?;
        record(&transaction, event).await?;
        Ok(transaction.commit().await?)
    }

    /// The key that has a secret with one of these hashes (one secret under each pepper in force), and that secret.
    pub async fn find_key_by_secret(
        &self,
        hashes: &[SecretHash],
    ) -> Result<Option<(ApiKey, StoredSecret)>, StoreError> {
        let hashes = hashes.iter().map(|hash| hash.0.to_vec());
        let found = secret::Entity::find()
            .filter(secret::Column::Hash.is_in(hashes))
            .find_also_related(api_key::Entity)
            .one(&self.reader)
            .await?;
        match found {
            Some((secret, Some(key))) => Ok(Some((read_key(key)?, read_secret(secret)?))),
            _ => Ok(None),
        }
    }
}

async fn record(transaction: &DatabaseTransaction, event: &AuditEvent) -> Result<(), DbErr> {
    let row = audit_event::ActiveModel {
        id: Set(event.id),
        at: Set(event.at),
        action: Set(event.action.as_str().to_owned()),
        actor_kind: Set(event.actor.kind.as_str().to_owned()),
        actor_issuer: Set(event.actor.issuer.clone()),
        actor_subject: Set(event.actor.subject.clone()),
        actor_key_id: Set(event.actor.key_id),
        key_id: Set(event.key_id),
        owner_issuer: Set(event.owner.issuer.clone()),
        owner_subject: Set(event.owner.subject.clone()),
        organization: Set(event.owner.organization.clone()),
        request_id: Set(event.origin.request_id.clone()),
        client_address: Set(event.origin.client_address.map(|address| address.to_string())),
        user_agent: Set(event.origin.user_agent.clone()),
        changes: Set(event.changes.to_string()),
    };
    audit_event::Entity::insert(row).exec_without_returning(transaction).await?;
    Ok(())
}

fn key_row(key: &ApiKey) -> api_key::ActiveModel {
    let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
    api_key::ActiveModel {
        id: Set(key.id),
        owner_issuer: Set(key.owner.issuer.clone()),
        owner_subject: Set(key.owner.subject.clone()),
        organization: Set(key.owner.organization.clone()),
        name: Set(key.name.as_str().to_owned()),
        scopes: Set(serde_json::to_string(&scopes).expect("a list of strings can always be written")),
        metadata: Set(key.metadata.to_json()),
        enabled: Set(key.enabled),
        created_at: Set(key.created_at),
        updated_at: Set(key.updated_at),
        expires_at: Set(key.expires_at),
        revoked_at: Set(key.revoked_at),
    }
}

fn secret_row(key: &ApiKey, secret: &StoredSecret) -> secret::ActiveModel {
    secret::ActiveModel {
        id: Set(secret.id),
        key_id: Set(key.id),
        hash: Set(secret.hash.0.to_vec()),
        pepper_id: Set(secret.pepper_id.clone()),
        start: Set(secret.start.clone()),
        last4: Set(secret.last4.clone()),
        created_at: Set(secret.created_at),
        expires_at: Set(secret.expires_at),
    }
}

fn read_key(row: api_key::Model) -> Result<ApiKey, DbErr> {
    let damaged = |error: serde_json::Error| DbErr::Custom(format!("key {} cannot be read: {error}", row.id));
    let scopes: Vec<String> = serde_json::from_str(&row.scopes).map_err(damaged)?;
    Ok(ApiKey {
        id: row.id,
        owner: Owner { issuer: row.owner_issuer, subject: row.owner_subject, organization: row.organization },
        name: KeyName::stored(row.name),
        scopes: Scopes::carried(scopes.iter().map(String::as_str)),
        metadata: Metadata::stored(&row.metadata).map_err(damaged)?,
        enabled: row.enabled,
        created_at: row.created_at,
        updated_at: row.updated_at,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
    })
}

fn read_secret(row: secret::Model) -> Result<StoredSecret, DbErr> {
    let hash = row.hash.try_into().map_err(|_| DbErr::Custom(format!("secret {} has no 32-byte hash", row.id)))?;
    Ok(StoredSecret {
        id: row.id,
        hash: SecretHash(hash),
        pepper_id: row.pepper_id,
        start: row.start,
        last4: row.last4,
        created_at: row.created_at,
        expires_at: row.expires_at,
    })
}
