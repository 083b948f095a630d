//! What was changed, by whom. Changes are only ever added.
//!
//! How a key was made is told by its own row, which is there as long as the audit is. A view shows both as events.

use sea_orm_migration::{prelude::*, schema::*};

use crate::by_primary_key;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum KeyChanges {
    Table,
    Id,
    At,
    Action,
    ActorKind,
    ActorIssuer,
    ActorSubject,
    ActorKeyId,
    KeyId,
    OwnerIssuer,
    OwnerSubject,
    Organization,
    RequestId,
    ClientAddress,
    UserAgent,
    Changes,
}

/// With the casts both halves are of the same types to SQLite too, which then reads a page of each in order and merges
/// them, where it would otherwise read and sort all that there is.
const AUDIT_EVENTS: &str = "
    CREATE VIEW audit_events AS
    SELECT id, at, action, actor_kind, actor_issuer, actor_subject, actor_key_id, key_id, owner_issuer, owner_subject,
        organization, request_id, client_address, user_agent, changes
    FROM key_changes
    UNION ALL
    SELECT id, created_at, CAST('created' AS text), created_by_kind,
        CAST(coalesce(created_by_issuer, owner_issuer) AS text), CAST(coalesce(created_by_subject, owner_subject) AS text),
        created_by_key, id, owner_issuer, owner_subject,
        organization, created_from_request, created_from_address, created_from_agent, created_as
    FROM api_keys";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(by_primary_key(
                manager,
                Table::create()
                    .table(KeyChanges::Table)
                    .col(uuid(KeyChanges::Id).primary_key())
                    .col(timestamp_with_time_zone(KeyChanges::At))
                    .col(text(KeyChanges::Action))
                    .col(text(KeyChanges::ActorKind))
                    .col(text(KeyChanges::ActorIssuer))
                    .col(text(KeyChanges::ActorSubject))
                    .col(uuid_null(KeyChanges::ActorKeyId))
                    .col(uuid(KeyChanges::KeyId))
                    .col(text(KeyChanges::OwnerIssuer))
                    .col(text(KeyChanges::OwnerSubject))
                    .col(text_null(KeyChanges::Organization))
                    .col(text(KeyChanges::RequestId))
                    .col(text_null(KeyChanges::ClientAddress))
                    .col(text_null(KeyChanges::UserAgent))
                    .col(text(KeyChanges::Changes))
                    .to_owned(),
            ))
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("key_changes_by_owner")
                    .table(KeyChanges::Table)
                    .col(KeyChanges::OwnerIssuer)
                    .col(KeyChanges::OwnerSubject)
                    .col(KeyChanges::Id)
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("key_changes_by_key")
                    .table(KeyChanges::Table)
                    .col(KeyChanges::KeyId)
                    .col(KeyChanges::Id)
                    .to_owned(),
            )
            .await?;
        manager.get_connection().execute_unprepared(AUDIT_EVENTS).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP VIEW audit_events").await?;
        manager.drop_table(Table::drop().table(KeyChanges::Table).to_owned()).await
    }
}
