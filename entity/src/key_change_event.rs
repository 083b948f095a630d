use sea_orm::entity::prelude::*;

/// What the revocation log reads of an audit event. [`audit_event`](crate::audit_event) has the other columns.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "key_change_events")]
pub struct Model {
    pub position: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub occurred_at: DateTimeUtc,
    pub action: String,
    /// Null if the creation of a key was refused.
    pub key_id: Option<Uuid>,
}

impl ActiveModelBehavior for ActiveModel {}
