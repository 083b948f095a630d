use sea_orm::entity::prelude::*;

/// A view of `key_changes` and of `api_keys`, whose rows tell how each key was made.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub at: DateTimeUtc,
    pub action: String,
    pub actor_kind: String,
    pub actor_issuer: String,
    pub actor_subject: String,
    pub actor_key_id: Option<Uuid>,
    pub key_id: Uuid,
    pub owner_issuer: String,
    pub owner_subject: String,
    pub organization: Option<String>,
    pub request_id: String,
    pub client_address: Option<String>,
    pub user_agent: Option<String>,
    /// A JSON object.
    pub changes: String,
}

impl ActiveModelBehavior for ActiveModel {}
