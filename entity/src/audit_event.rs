use sea_orm::entity::prelude::*;

/// A view of `key_change_events` and of the creation of each key in `api_keys`.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub occurred_at: DateTimeUtc,
    pub action: String,
    pub actor_kind: String,
    pub actor_issuer: String,
    pub actor_subject: String,
    pub actor_key_id: Option<Uuid>,
    /// Null if the creation of a key was refused.
    pub key_id: Option<Uuid>,
    pub owner_issuer: String,
    pub owner_subject: String,
    /// Empty if the owner has none.
    pub owner_organization: String,
    pub request_id: String,
    pub client_address: Option<String>,
    pub user_agent: Option<String>,
    /// A JSON object: the changed fields with their new values.
    pub changes: String,
}

/// The table that events of changes are inserted into. It has the columns of the view, and their position.
pub const CHANGES_TABLE: &str = "key_change_events";

impl ActiveModelBehavior for ActiveModel {}
