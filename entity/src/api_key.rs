use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub owner_issuer: String,
    pub owner_subject: String,
    pub organization: Option<String>,
    pub name: String,
    /// The words of the name in lower case, a space before each: what a search looks in.
    pub name_words: String,
    /// A JSON array of strings.
    pub scopes: String,
    /// A JSON object. Text rather than a JSON type: PostgreSQL's refuses U+0000, which JSON allows.
    pub metadata: String,
    pub enabled: bool,
    /// Of the newest secret, as is `last4`.
    pub start: String,
    pub last4: String,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub expires_at: Option<DateTimeUtc>,
    pub revoked_at: Option<DateTimeUtc>,
    pub revoked_by: Option<String>,
    pub revoke_reason: Option<String>,
    /// A key that its owner deleted stays as a tombstone, for the audit.
    pub deleted_at: Option<DateTimeUtc>,
    pub revision: i64,
    /// Of the newest secret.
    pub secret_id: Uuid,
    #[sea_orm(unique)]
    pub secret_hash: Vec<u8>,
    pub secret_created_at: DateTimeUtc,
    pub pepper_id: String,
    /// Of its making, as the audit tells it: the kind of actor.
    pub created_by_kind: String,
    /// When the actor was not the owner.
    pub created_by_issuer: Option<String>,
    pub created_by_subject: Option<String>,
    /// The key that acted, when it was one.
    pub created_by_key: Option<Uuid>,
    pub created_from_request: String,
    pub created_from_address: Option<String>,
    pub created_from_agent: Option<String>,
    /// A JSON object: what the key was made as, whatever it has become.
    pub created_as: String,
}

impl ActiveModelBehavior for ActiveModel {}
