use sea_orm::entity::prelude::*;

/// The number of verifications of a key on one day (UTC) that had one verdict.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "key_usage")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: Date,
    #[sea_orm(primary_key, auto_increment = false)]
    pub verdict: String,
    pub count: i64,
}

impl ActiveModelBehavior for ActiveModel {}
