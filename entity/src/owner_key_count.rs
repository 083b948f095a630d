use sea_orm::entity::prelude::*;

/// The number of keys of one owner that are neither revoked nor deleted.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "owner_key_counts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub issuer: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: String,
    /// Empty if the owner has none.
    #[sea_orm(primary_key, auto_increment = false)]
    pub organization: String,
    pub keys: i64,
}

impl ActiveModelBehavior for ActiveModel {}
