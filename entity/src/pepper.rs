use sea_orm::entity::prelude::*;

/// A pepper that secrets in this database were hashed with. A server whose master secret derives none of them refuses
/// to start.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "peppers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub first_used_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
