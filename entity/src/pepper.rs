use sea_orm::entity::prelude::*;

/// The ids of the peppers that this database's secrets were hashed with. A start with none of them is a start with
/// the wrong master secret.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "peppers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub first_used_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
