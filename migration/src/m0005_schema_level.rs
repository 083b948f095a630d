//! How far the schema is, for binaries that are older than it.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum SchemaLevel {
    Table,
    Id,
    Level,
    OldestBinary,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(SchemaLevel::Table)
                    .col(integer(SchemaLevel::Id).primary_key())
                    .col(integer(SchemaLevel::Level))
                    .col(integer(SchemaLevel::OldestBinary))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(SchemaLevel::Table).to_owned()).await
    }
}
