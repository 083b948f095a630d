//! Answers that can be given again to a client that did not hear them.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum IdempotentRequests {
    Table,
    Id,
    Fingerprint,
    Answer,
    ExpiresAt,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(IdempotentRequests::Table)
                    .col(blob(IdempotentRequests::Id).primary_key())
                    .col(blob(IdempotentRequests::Fingerprint))
                    .col(blob(IdempotentRequests::Answer))
                    .col(timestamp_with_time_zone(IdempotentRequests::ExpiresAt))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("idempotent_requests_by_expiry")
                    .table(IdempotentRequests::Table)
                    .col(IdempotentRequests::ExpiresAt)
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(IdempotentRequests::Table).to_owned()).await
    }
}
