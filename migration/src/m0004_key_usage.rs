//! How often keys are asked about.

use sea_orm_migration::{prelude::*, schema::*};

use crate::by_primary_key;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum KeyUsage {
    Table,
    KeyId,
    Day,
    Verdict,
    Count,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(by_primary_key(
                manager,
                Table::create()
                    .table(KeyUsage::Table)
                    .col(uuid(KeyUsage::KeyId))
                    .col(date(KeyUsage::Day))
                    .col(text(KeyUsage::Verdict))
                    .col(big_integer(KeyUsage::Count))
                    .primary_key(Index::create().col(KeyUsage::KeyId).col(KeyUsage::Day).col(KeyUsage::Verdict))
                    .to_owned(),
            ))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(KeyUsage::Table).to_owned()).await
    }
}
