use sea_orm::entity::prelude::*;

/// A view of the current secrets in `api_keys` and of `rotated_secrets`, with their last use.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "secrets")]
pub struct Model {
    /// 32 bytes: the creation time of the secret in milliseconds (6 bytes), then the last 26 bytes of its
    /// `blake3::keyed_hash` under the pepper `pepper_id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub hash: Vec<u8>,
    /// Stays the same when the secret is rehashed with another pepper.
    pub id: Uuid,
    pub key_id: Uuid,
    pub pepper_id: String,
    pub start: String,
    pub last4: String,
    pub created_at: DateTimeUtc,
    /// Null for the current secret.
    pub expires_at: Option<DateTimeUtc>,
    pub last_used_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
