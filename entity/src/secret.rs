use sea_orm::entity::prelude::*;

/// A view of `api_keys`, each with its newest secret, `former_secrets` and `secret_uses`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "secrets")]
pub struct Model {
    /// 32 bytes: six of the secret's time, in milliseconds since the epoch, and of its `blake3::keyed_hash` under the
    /// pepper named beside it the last 26.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    /// The same when the hash changes with the pepper.
    pub id: Uuid,
    pub key_id: Uuid,
    pub pepper_id: String,
    pub start: String,
    pub last4: String,
    pub created_at: DateTimeUtc,
    pub expires_at: Option<DateTimeUtc>,
    pub last_used_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
