//! Keys, their secrets, and the peppers that the secrets are hashed with.
//!
//! A create writes one row, and a verify reads one: a key's newest secret, and how the key was made, lie in the key's own
//! row. Secrets that a rotation replaced are elsewhere, and a view shows all as what they are. When a secret was last used
//! lies apart from both: it is written each minute, and must not wait for a change of the key, nor the change for it.

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
    SecretId,
    SecretHash,
    SecretCreatedAt,
    PepperId,
    CreatedByKind,
    CreatedByIssuer,
    CreatedBySubject,
    CreatedByKey,
    CreatedFromRequest,
    CreatedFromAddress,
    CreatedFromAgent,
    CreatedAs,
}

#[derive(DeriveIden)]
enum FormerSecrets {
    Table,
    Id,
    KeyId,
    Hash,
    PepperId,
    Start,
    Last4,
    CreatedAt,
    ExpiresAt,
}

#[derive(DeriveIden)]
enum SecretUses {
    Table,
    SecretId,
    LastUsedAt,
}

#[derive(DeriveIden)]
enum Peppers {
    Table,
    Id,
    FirstUsedAt,
}

const SECRETS: &str = "
    CREATE VIEW secrets AS
    SELECT secret_hash AS hash, secret_id AS id, id AS key_id, pepper_id, start, last4, secret_created_at AS created_at,
        NULL AS expires_at, (SELECT u.last_used_at FROM secret_uses u WHERE u.secret_id = k.secret_id) AS last_used_at
    FROM api_keys k
    UNION ALL
    SELECT hash, id, key_id, pepper_id, start, last4, created_at,
        expires_at, (SELECT u.last_used_at FROM secret_uses u WHERE u.secret_id = f.id)
    FROM former_secrets f";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            // Not in the order of its primary key: the way to a row by its secret's hash would lead through pages full of
            // other rows.
            .create_table(
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
                    .col(uuid(ApiKeys::SecretId))
                    .col(blob(ApiKeys::SecretHash).unique_key())
                    .col(timestamp_with_time_zone(ApiKeys::SecretCreatedAt))
                    .col(text(ApiKeys::PepperId))
                    .col(text(ApiKeys::CreatedByKind))
                    .col(text_null(ApiKeys::CreatedByIssuer))
                    .col(text_null(ApiKeys::CreatedBySubject))
                    .col(uuid_null(ApiKeys::CreatedByKey))
                    .col(text(ApiKeys::CreatedFromRequest))
                    .col(text_null(ApiKeys::CreatedFromAddress))
                    .col(text_null(ApiKeys::CreatedFromAgent))
                    .col(text(ApiKeys::CreatedAs))
                    .to_owned(),
            )
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
                    .table(FormerSecrets::Table)
                    .col(blob(FormerSecrets::Hash).primary_key())
                    .col(uuid(FormerSecrets::Id))
                    .col(uuid(FormerSecrets::KeyId))
                    .col(text(FormerSecrets::PepperId))
                    .col(text(FormerSecrets::Start))
                    .col(text(FormerSecrets::Last4))
                    .col(timestamp_with_time_zone(FormerSecrets::CreatedAt))
                    .col(timestamp_with_time_zone(FormerSecrets::ExpiresAt))
                    .foreign_key(
                        ForeignKey::create()
                            .from(FormerSecrets::Table, FormerSecrets::KeyId)
                            .to(ApiKeys::Table, ApiKeys::Id),
                    )
                    .to_owned(),
            ))
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("former_secrets_by_key")
                    .table(FormerSecrets::Table)
                    .col(FormerSecrets::KeyId)
                    .col(FormerSecrets::Id)
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(by_primary_key(
                manager,
                Table::create()
                    .table(SecretUses::Table)
                    .col(uuid(SecretUses::SecretId).primary_key())
                    .col(timestamp_with_time_zone(SecretUses::LastUsedAt))
                    .to_owned(),
            ))
            .await?;
        manager.get_connection().execute_unprepared(SECRETS).await?;
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
        manager.get_connection().execute_unprepared("DROP VIEW secrets").await?;
        manager.drop_table(Table::drop().table(SecretUses::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(FormerSecrets::Table).to_owned()).await?;
        manager.drop_table(Table::drop().table(ApiKeys::Table).to_owned()).await
    }
}
