use sea_orm::entity::prelude::*;

/// A bulk revocation and how far it is.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "revocation_jobs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub status: String,
    /// What the administrator reached. Null: all.
    pub reach_issuer: Option<String>,
    pub reach_organization: Option<String>,
    /// The filter of the keys. Null: any.
    pub owner_issuer: Option<String>,
    pub owner_subject: Option<String>,
    pub owner_organization: Option<String>,
    pub created_by_key: Option<Uuid>,
    pub created_before: Option<DateTimeUtc>,
    pub reason: Option<String>,
    pub descendants: bool,
    pub actor_kind: String,
    pub actor_issuer: String,
    pub actor_subject: String,
    /// Empty if the actor has none.
    pub actor_organization: String,
    pub actor_key_id: Option<Uuid>,
    pub request_id: String,
    pub client_address: Option<String>,
    pub user_agent: Option<String>,
    /// Keys with lower ids have not been examined yet.
    pub unexamined_below: Uuid,
    pub examined: i64,
    /// Descendants included.
    pub revoked: i64,
    pub revoked_descendants: i64,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
    pub completed_at: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
