use sea_orm::entity::prelude::*;

/// How often a key was asked about on one day (UTC), by what was answered.
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
