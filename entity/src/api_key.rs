use sea_orm::entity::prelude::*;

/// A key, its current secret, and the audit event of its creation.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub owner_issuer: String,
    pub owner_subject: String,
    /// Empty if the owner has none.
    pub owner_organization: String,
    pub name: String,
    /// The lower-case words of the name, each preceded by a space, for search.
    pub name_words: String,
    /// A JSON array of strings.
    pub scopes: String,
    /// A JSON object.
    pub metadata: String,
    pub enabled: bool,
    pub secret_start: String,
    pub secret_last4: String,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub expires_at: Option<DateTimeUtc>,
    pub revoked_at: Option<DateTimeUtc>,
    pub revoked_by: Option<String>,
    pub revoke_reason: Option<String>,
    /// Set when the owner deletes the key. The row stays for the audit.
    pub deleted_at: Option<DateTimeUtc>,
    pub revision: i64,
    pub secret_id: Uuid,
    #[sea_orm(unique)]
    pub secret_hash: Vec<u8>,
    pub secret_created_at: DateTimeUtc,
    pub secret_pepper_id: String,
    pub creation_actor_kind: String,
    /// Null when the actor is the owner, as is `creation_actor_subject`.
    pub creation_actor_issuer: Option<String>,
    pub creation_actor_subject: Option<String>,
    pub creation_actor_key_id: Option<Uuid>,
    pub creation_request_id: String,
    pub creation_client_address: Option<String>,
    pub creation_user_agent: Option<String>,
    /// A JSON object: the fields of the new key.
    pub creation_changes: String,
}

impl ActiveModelBehavior for ActiveModel {}
