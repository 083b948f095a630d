//! What was changed, by whom. Events are only ever added.

use sea_orm_migration::{prelude::*, schema::*};

use crate::by_primary_key;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[derive(DeriveIden)]
enum AuditEvents {
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

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(by_primary_key(
                manager,
                Table::create()
                    .table(AuditEvents::Table)
                    .col(uuid(AuditEvents::Id).primary_key())
                    .col(timestamp_with_time_zone(AuditEvents::At))
                    .col(text(AuditEvents::Action))
                    .col(text(AuditEvents::ActorKind))
                    .col(text(AuditEvents::ActorIssuer))
                    .col(text(AuditEvents::ActorSubject))
                    .col(uuid_null(AuditEvents::ActorKeyId))
                    .col(uuid(AuditEvents::KeyId))
                    .col(text(AuditEvents::OwnerIssuer))
                    .col(text(AuditEvents::OwnerSubject))
                    .col(text_null(AuditEvents::Organization))
                    .col(text(AuditEvents::RequestId))
                    .col(text_null(AuditEvents::ClientAddress))
                    .col(text_null(AuditEvents::UserAgent))
                    .col(text(AuditEvents::Changes))
                    .to_owned(),
            ))
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("audit_events_by_owner")
                    .table(AuditEvents::Table)
                    .col(AuditEvents::OwnerIssuer)
                    .col(AuditEvents::OwnerSubject)
                    .col(AuditEvents::Id)
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("audit_events_by_key")
                    .table(AuditEvents::Table)
                    .col(AuditEvents::KeyId)
                    .col(AuditEvents::Id)
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(AuditEvents::Table).to_owned()).await
    }
}
