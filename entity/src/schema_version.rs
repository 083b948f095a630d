use sea_orm::entity::prelude::*;

/// The version of the schema, and the binaries that work with it.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "schema_version")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The number of migrations that were applied.
    pub version: i32,
    /// The lowest schema version of a binary that works with this schema.
    pub min_binary_version: i32,
}

/// The id of the only row.
pub const ID: i32 = 1;

impl ActiveModelBehavior for ActiveModel {}
