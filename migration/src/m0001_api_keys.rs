//! Keys, their secrets, and the peppers that the secrets are hashed with.

use sea_orm_migration::{prelude::*, schema::*};

use crate::by_primary_key;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum ApiKeys {
    Table,
    Id,
    OwnerIssuer,
    OwnerSubject,
    Organization,
    Name,
    NameWords,
    Scopes,
    Metadata,
    Enabled,
    Start,
    Last4,
    CreatedAt,
    UpdatedAt,
    ExpiresAt,
    RevokedAt,
    RevokedBy,
    RevokeReason,
    DeletedAt,
    Revision,
}

#[derive(DeriveIden)]
enum Secrets {
    Table,
    Id,
    KeyId,
    Hash,
    PepperId,
    Start,
    Last4,
    CreatedAt,
    ExpiresAt,
    LastUsedAt,
}

#[derive(DeriveIden)]
enum Peppers {
    Table,
    Id,
    FirstUsedAt,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(by_primary_key(
                manager,
                Table::create()
                    .table(ApiKeys::Table)
                    .col(uuid(ApiKeys::Id).primary_key())
                    .col(text(ApiKeys::OwnerIssuer))
                    .col(text(ApiKeys::OwnerSubject))
                    .col(text_null(ApiKeys::Organization))
                    .col(text(ApiKeys::Name))
                    .col(text(ApiKeys::NameWords))
                    .col(text(ApiKeys::Scopes))
                    .col(text(ApiKeys::Metadata))
                    .col(boolean(ApiKeys::Enabled))
                    .col(text(ApiKeys::Start))
                    .col(text(ApiKeys::Last4))
                    .col(timestamp_with_time_zone(ApiKeys::CreatedAt))
                    .col(timestamp_with_time_zone(ApiKeys::UpdatedAt))
                    .col(timestamp_with_time_zone_null(ApiKeys::ExpiresAt))
                    .col(timestamp_with_time_zone_null(ApiKeys::RevokedAt))
                    .col(text_null(ApiKeys::RevokedBy))
                    .col(text_null(ApiKeys::RevokeReason))
                    .col(timestamp_with_time_zone_null(ApiKeys::DeletedAt))
                    .col(big_integer(ApiKeys::Revision))
                    .to_owned(),
            ))
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("api_keys_by_owner")
                    .table(ApiKeys::Table)
                    .col(ApiKeys::OwnerIssuer)
                    .col(ApiKeys::OwnerSubject)
                    .col(ApiKeys::Id)
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("api_keys_by_organization")
                    .table(ApiKeys::Table)
                    .col(ApiKeys::Organization)
                    .col(ApiKeys::Id)
                    .and_where(Expr::col(ApiKeys::Organization).is_not_null())
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(by_primary_key(
                manager,
                Table::create()
                    .table(Secrets::Table)
                    // A verify that asks for a hash finds the row itself there, not the way to it.
                    .col(blob(Secrets::Hash).primary_key())
                    .col(uuid(Secrets::Id))
                    .col(uuid(Secrets::KeyId))
                    .col(text(Secrets::PepperId))
                    .col(text(Secrets::Start))
                    .col(text(Secrets::Last4))
                    .col(timestamp_with_time_zone(Secrets::CreatedAt))
                    .col(timestamp_with_time_zone_null(Secrets::ExpiresAt))
                    .col(timestamp_with_time_zone_null(Secrets::LastUsedAt))
                    .foreign_key(
                        ForeignKey::create().from(Secrets::Table, Secrets::KeyId).to(ApiKeys::Table, ApiKeys::Id),
                    )
                    .to_owned(),
            ))
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("secrets_by_key")
                    .table(Secrets::Table)
                    .col(Secrets::KeyId)
                    .col(Secrets::Id)
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(Peppers::Table)
                    .col(text(Peppers::Id).primary_key())
                    .col(timestamp_with_time_zone(Peppers::FirstUsedAt))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Peppers::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(Secrets::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(ApiKeys::Table).to_owned()).await
    }
}
