use sea_orm::entity::prelude::*;

/// How far the schema has been brought, and who can live with that.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "schema_level")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The number of migrations that were applied.
    pub level: i32,
    /// The number of migrations that a binary has to know to work with this schema.
    pub oldest_binary: i32,
}

/// Of the only row.
pub const ID: i32 = 1;

impl ActiveModelBehavior for ActiveModel {}
