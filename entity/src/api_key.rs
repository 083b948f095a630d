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
    #[sea_orm(has_many)]
    pub secrets: HasMany<super::secret::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
