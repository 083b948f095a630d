//! The audit events: of changes in a table, and of creations in the rows of the keys.

use sea_orm_migration::{prelude::*, schema::*, sea_orm::DbBackend};

#[derive(DeriveIden)]
enum KeyChangeEvents {
    Table,
    /// The place in the order of commits, whatever the clocks showed: see [`position`]. The revocation log is read by it.
    Position,
    /// A UUIDv7, so that events sort by time. Lists are paged by it.
    Id,
    OccurredAt,
    /// `updated`, `enabled`, `disabled`, `rotated`, `revoked`, `deleted`, `refused`, `bulk_revocation_started` or
    /// `bulk_revocation_ended`.
    Action,
    /// `user`, `key` or `operator`.
    ActorKind,
    ActorIssuer,
    ActorSubject,
    /// The key that the actor authenticated with, if any.
    ActorKeyId,
    /// Null if the creation of a key was refused, and for a bulk revocation.
    KeyId,
    /// The owner of the key at that time, so that a list by owner needs no join. Of a bulk revocation, who requested it.
    OwnerIssuer,
    OwnerSubject,
    OwnerOrganization,
    RequestId,
    ClientAddress,
    UserAgent,
    /// A JSON object: the changed fields with their new values, what was refused and why, or the bulk revocation.
    Changes,
}

/// Returns the column that the database fills in, so that no insert can leave it out or choose it.
///
/// On SQLite, which has one writer at a time, the row id: rows are never deleted, so a new one is above all others.
/// On PostgreSQL, the id of the transaction. Transactions commit in any order, but one that began after another had ended
/// has a higher id.
fn position(backend: DbBackend) -> ColumnDef {
    let mut column = ColumnDef::new(KeyChangeEvents::Position);
    match backend {
        DbBackend::Sqlite => column.integer().not_null().primary_key(),
        _ => column.big_integer().not_null().default(Expr::cust("pg_current_xact_id()::text::bigint")),
    };
    column
}

/// Rows are only ever inserted.
pub async fn create_key_change_events(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let backend = manager.get_database_backend();
    let mut id = uuid(KeyChangeEvents::Id);
    match backend {
        DbBackend::Sqlite => id.unique_key(),
        _ => id.primary_key(),
    };
    let mut table = Table::create();
    table
        .table(KeyChangeEvents::Table)
        .col(position(backend))
        .col(id)
        .col(timestamp_with_time_zone(KeyChangeEvents::OccurredAt))
        .col(text(KeyChangeEvents::Action))
        .col(text(KeyChangeEvents::ActorKind))
        .col(text(KeyChangeEvents::ActorIssuer))
        .col(text(KeyChangeEvents::ActorSubject))
        .col(uuid_null(KeyChangeEvents::ActorKeyId))
        .col(uuid_null(KeyChangeEvents::KeyId))
        .col(text(KeyChangeEvents::OwnerIssuer))
        .col(text(KeyChangeEvents::OwnerSubject))
        .col(text(KeyChangeEvents::OwnerOrganization))
        .col(text(KeyChangeEvents::RequestId))
        .col(text_null(KeyChangeEvents::ClientAddress))
        .col(text_null(KeyChangeEvents::UserAgent))
        .col(text(KeyChangeEvents::Changes));
    manager.create_table(table).await?;
    if backend != DbBackend::Sqlite {
        let by_position = Index::create()
            .name("key_change_events_by_position")
            .table(KeyChangeEvents::Table)
            .col(KeyChangeEvents::Position)
            .col(KeyChangeEvents::Id)
            .to_owned();
        manager.create_index(by_position).await?;
    }
    let by_owner = Index::create()
        .name("key_change_events_by_owner")
        .table(KeyChangeEvents::Table)
        .col(KeyChangeEvents::OwnerIssuer)
        .col(KeyChangeEvents::OwnerSubject)
        .col(KeyChangeEvents::OwnerOrganization)
        .col(KeyChangeEvents::Id)
        .to_owned();
    manager.create_index(by_owner).await?;
    let by_key = Index::create()
        .name("key_change_events_by_key")
        .table(KeyChangeEvents::Table)
        .col(KeyChangeEvents::KeyId)
        .col(KeyChangeEvents::Id)
        .to_owned();
    manager.create_index(by_key).await?;
    // The changes that a key made. Partial, because users make most changes.
    let by_acting_key = Index::create()
        .name("key_change_events_by_acting_key")
        .table(KeyChangeEvents::Table)
        .col(KeyChangeEvents::ActorKeyId)
        .col(KeyChangeEvents::Id)
        .and_where(Expr::col(KeyChangeEvents::ActorKeyId).is_not_null())
        .to_owned();
    manager.create_index(by_acting_key).await?;
    // The events of an organization, for its administrators.
    let by_issuer_and_organization = Index::create()
        .name("key_change_events_by_issuer_and_organization")
        .table(KeyChangeEvents::Table)
        .col(KeyChangeEvents::OwnerIssuer)
        .col(KeyChangeEvents::OwnerOrganization)
        .col(KeyChangeEvents::Id)
        .and_where(Expr::col(KeyChangeEvents::OwnerOrganization).ne(""))
        .to_owned();
    manager.create_index(by_issuer_and_organization).await
}

/// The casts give the columns of both halves the same types. SQLite then reads a page of each half in order and merges
/// them; without the casts it reads and sorts all rows.
pub const AUDIT_EVENTS_VIEW: &str = "
    CREATE VIEW audit_events AS
    SELECT id, occurred_at, action, actor_kind, actor_issuer, actor_subject, actor_key_id, key_id,
        owner_issuer, owner_subject, owner_organization, request_id, client_address, user_agent, changes
    FROM key_change_events
    UNION ALL
    SELECT id, created_at, CAST('created' AS text), creation_actor_kind,
        CAST(coalesce(creation_actor_issuer, owner_issuer) AS text),
        CAST(coalesce(creation_actor_subject, owner_subject) AS text),
        creation_actor_key_id, id, owner_issuer, owner_subject, owner_organization,
        creation_request_id, creation_client_address, creation_user_agent, creation_changes
    FROM api_keys";
