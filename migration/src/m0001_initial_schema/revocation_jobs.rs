//! The bulk revocations: what each revokes, for whom, and how far it is.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveIden)]
enum RevocationJobs {
    Table,
    /// A UUIDv7, so that jobs sort by time. Lists are paged by it.
    Id,
    /// `queued`, `running`, `completed`, `canceled` or `failed`.
    Status,
    /// What the administrator reached at the request: one issuer, of it one organization. Null: all.
    ReachIssuer,
    ReachOrganization,
    /// The filter of the keys. Null: any.
    OwnerIssuer,
    OwnerSubject,
    OwnerOrganization,
    CreatedByKey,
    CreatedBefore,
    /// Stored with each revocation.
    Reason,
    /// Whether the descendants of the matching keys are revoked, too.
    Descendants,
    /// Who requested it and from where, for the audit events.
    ActorKind,
    ActorIssuer,
    ActorSubject,
    /// Empty if the actor has none.
    ActorOrganization,
    ActorKeyId,
    RequestId,
    ClientAddress,
    UserAgent,
    /// Keys with lower ids have not been examined yet. At first, an id above that of every key.
    UnexaminedBelow,
    Examined,
    /// The number of revoked keys, descendants included.
    Revoked,
    RevokedDescendants,
    CreatedAt,
    UpdatedAt,
    /// Null until it is completed, canceled or failed.
    CompletedAt,
}

pub async fn create_revocation_jobs(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = Table::create();
    table
        .table(RevocationJobs::Table)
        .col(uuid(RevocationJobs::Id).primary_key())
        .col(text(RevocationJobs::Status))
        .col(text_null(RevocationJobs::ReachIssuer))
        .col(text_null(RevocationJobs::ReachOrganization))
        .col(text_null(RevocationJobs::OwnerIssuer))
        .col(text_null(RevocationJobs::OwnerSubject))
        .col(text_null(RevocationJobs::OwnerOrganization))
        .col(uuid_null(RevocationJobs::CreatedByKey))
        .col(timestamp_with_time_zone_null(RevocationJobs::CreatedBefore))
        .col(text_null(RevocationJobs::Reason))
        .col(boolean(RevocationJobs::Descendants))
        .col(text(RevocationJobs::ActorKind))
        .col(text(RevocationJobs::ActorIssuer))
        .col(text(RevocationJobs::ActorSubject))
        .col(text(RevocationJobs::ActorOrganization))
        .col(uuid_null(RevocationJobs::ActorKeyId))
        .col(text(RevocationJobs::RequestId))
        .col(text_null(RevocationJobs::ClientAddress))
        .col(text_null(RevocationJobs::UserAgent))
        .col(uuid(RevocationJobs::UnexaminedBelow))
        .col(big_integer(RevocationJobs::Examined))
        .col(big_integer(RevocationJobs::Revoked))
        .col(big_integer(RevocationJobs::RevokedDescendants))
        .col(timestamp_with_time_zone(RevocationJobs::CreatedAt))
        .col(timestamp_with_time_zone(RevocationJobs::UpdatedAt))
        .col(timestamp_with_time_zone_null(RevocationJobs::CompletedAt));
    manager.create_table(table).await?;
    // The next job to continue.
    let unfinished = Index::create()
        .name("revocation_jobs_unfinished")
        .table(RevocationJobs::Table)
        .col(RevocationJobs::Examined)
        .col(RevocationJobs::Id)
        .and_where(Expr::col(RevocationJobs::CompletedAt).is_null())
        .to_owned();
    manager.create_index(unfinished).await
}
