//! The initial schema.
//!
//! | table or view | rows |
//! |---|---|
//! | `api_keys` | keys, each with its current secret and the audit event of its creation |
//! | `rotated_secrets` | secrets that a rotation replaced, each with its expiry |
//! | `secret_last_used` | the last use of each secret |
//! | `secrets` (view) | all secrets: the current ones and the rotated ones |
//! | `peppers` | the peppers that secrets were hashed with |
//! | `key_change_events` | the audit events of changes and of refused operations |
//! | `audit_events` (view) | all audit events: creations, changes and refusals |
//! | `owner_key_counts` | the number of keys of each owner that are neither revoked nor deleted |
//! | `idempotency_records` | responses to requests with an `Idempotency-Key`, encrypted |
//! | `revocation_jobs` | bulk revocations and how far they are |
//! | `key_usage` | the number of verifications by key, day and verdict |
//! | `schema_version` | the version of this schema |
//!
//! The hot paths decided this shape. A create inserts one row and a verify reads one row, because a key, its current
//! secret and the audit event of its creation share a row. `secret_last_used` is a table of its own because it is
//! written once a minute per key: an update of `api_keys` would rewrite a wide row, and would wait for the locks that
//! changes of the key take.

mod audit_events;
mod revocation_jobs;

use sea_orm_migration::{prelude::*, schema::*};

use crate::clustered;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_api_keys(manager).await?;
        create_rotated_secrets(manager).await?;
        create_secret_last_used(manager).await?;
        manager.get_connection().execute_unprepared(SECRETS_VIEW).await?;
        create_peppers(manager).await?;
        audit_events::create_key_change_events(manager).await?;
        manager.get_connection().execute_unprepared(audit_events::AUDIT_EVENTS_VIEW).await?;
        create_owner_key_counts(manager).await?;
        revocation_jobs::create_revocation_jobs(manager).await?;
        create_idempotency_records(manager).await?;
        create_key_usage(manager).await?;
        create_schema_version(manager).await
    }
}

#[derive(DeriveIden)]
enum ApiKeys {
    Table,
    /// A UUIDv7, so that ids sort by creation time. Lists are paged by it.
    Id,
    /// The `iss` and `sub` claims of the owner's token and its organization, which is empty if the token names none. The
    /// three together identify the owner.
    OwnerIssuer,
    OwnerSubject,
    OwnerOrganization,
    Name,
    /// The lower-case words of the name, each preceded by a space. A search for a word's prefix is `LIKE '% prefix%'`.
    NameWords,
    /// A JSON array of strings.
    Scopes,
    /// A JSON object. Text, because PostgreSQL's JSON types reject U+0000, which JSON allows.
    Metadata,
    Enabled,
    /// The first and the last characters of the current secret, shown to recognize it.
    SecretStart,
    SecretLast4,
    CreatedAt,
    UpdatedAt,
    /// The first instant at which the key is invalid. Null: it does not expire.
    ExpiresAt,
    RevokedAt,
    /// The subject of the caller that revoked the key.
    RevokedBy,
    RevokeReason,
    /// Set when the owner deletes the key. The row stays, because the audit refers to it.
    DeletedAt,
    /// Incremented by each change. The `ETag` is made from it.
    Revision,
    /// The current secret. It has no expiry of its own: the expiry is the key's.
    SecretId,
    SecretHash,
    SecretCreatedAt,
    SecretPepperId,
    /// The audit event of the key's creation: `CreationX` is the column `X` of `key_change_events`. Its id, time and
    /// owner are the key's. Issuer and subject are null when the actor is the owner, as almost always.
    CreationActorKind,
    CreationActorIssuer,
    CreationActorSubject,
    /// Also the key's parent in a tree of keys.
    CreationActorKeyId,
    CreationRequestId,
    CreationClientAddress,
    CreationUserAgent,
    CreationChanges,
}

/// On SQLite, not clustered by primary key: a lookup by secret hash would then go through pages of wide rows.
async fn create_api_keys(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = Table::create();
    table
        .table(ApiKeys::Table)
        .col(uuid(ApiKeys::Id).primary_key())
        .col(text(ApiKeys::OwnerIssuer))
        .col(text(ApiKeys::OwnerSubject))
        .col(text(ApiKeys::OwnerOrganization))
        .col(text(ApiKeys::Name))
        .col(text(ApiKeys::NameWords))
        .col(text(ApiKeys::Scopes))
        .col(text(ApiKeys::Metadata))
        .col(boolean(ApiKeys::Enabled))
        .col(text(ApiKeys::SecretStart))
        .col(text(ApiKeys::SecretLast4))
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
        .col(text(ApiKeys::SecretPepperId))
        .col(text(ApiKeys::CreationActorKind))
        .col(text_null(ApiKeys::CreationActorIssuer))
        .col(text_null(ApiKeys::CreationActorSubject))
        .col(uuid_null(ApiKeys::CreationActorKeyId))
        .col(text(ApiKeys::CreationRequestId))
        .col(text_null(ApiKeys::CreationClientAddress))
        .col(text_null(ApiKeys::CreationUserAgent))
        .col(text(ApiKeys::CreationChanges));
    manager.create_table(table).await?;
    create_api_key_indexes(manager).await
}

async fn create_api_key_indexes(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // A page of an owner's keys, newest first.
    let by_owner = Index::create()
        .name("api_keys_by_owner")
        .table(ApiKeys::Table)
        .col(ApiKeys::OwnerIssuer)
        .col(ApiKeys::OwnerSubject)
        .col(ApiKeys::OwnerOrganization)
        .col(ApiKeys::Id)
        .to_owned();
    manager.create_index(by_owner).await?;
    // The keys of an organization, for its administrators. Partial, because most deployments have no organizations.
    let by_issuer_and_organization = Index::create()
        .name("api_keys_by_issuer_and_organization")
        .table(ApiKeys::Table)
        .col(ApiKeys::OwnerIssuer)
        .col(ApiKeys::OwnerOrganization)
        .col(ApiKeys::Id)
        .and_where(Expr::col(ApiKeys::OwnerOrganization).ne(""))
        .to_owned();
    manager.create_index(by_issuer_and_organization).await?;
    // The same for operators, who need not name an issuer.
    let by_organization = Index::create()
        .name("api_keys_by_organization")
        .table(ApiKeys::Table)
        .col(ApiKeys::OwnerOrganization)
        .col(ApiKeys::Id)
        .and_where(Expr::col(ApiKeys::OwnerOrganization).ne(""))
        .to_owned();
    manager.create_index(by_organization).await?;
    // The keys that a key created. Partial, because most keys are created by users.
    let by_creating_key = Index::create()
        .name("api_keys_by_creating_key")
        .table(ApiKeys::Table)
        .col(ApiKeys::CreationActorKeyId)
        .col(ApiKeys::Id)
        .and_where(Expr::col(ApiKeys::CreationActorKeyId).is_not_null())
        .to_owned();
    manager.create_index(by_creating_key).await
}

#[derive(DeriveIden)]
enum RotatedSecrets {
    Table,
    /// See `ApiKeys::SecretHash`: a lookup reads `api_keys` first, then this table.
    Hash,
    Id,
    KeyId,
    PepperId,
    Start,
    Last4,
    CreatedAt,
    /// The end of the rotation's grace period.
    ExpiresAt,
}

async fn create_rotated_secrets(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let key = ForeignKey::create()
        .from(RotatedSecrets::Table, RotatedSecrets::KeyId)
        .to(ApiKeys::Table, ApiKeys::Id)
        .to_owned();
    let mut table = Table::create();
    table
        .table(RotatedSecrets::Table)
        .col(blob(RotatedSecrets::Hash).primary_key())
        .col(uuid(RotatedSecrets::Id))
        .col(uuid(RotatedSecrets::KeyId))
        .col(text(RotatedSecrets::PepperId))
        .col(text(RotatedSecrets::Start))
        .col(text(RotatedSecrets::Last4))
        .col(timestamp_with_time_zone(RotatedSecrets::CreatedAt))
        .col(timestamp_with_time_zone(RotatedSecrets::ExpiresAt))
        .foreign_key(&mut key.clone());
    manager.create_table(clustered(manager, table)).await?;
    let by_key = Index::create()
        .name("rotated_secrets_by_key")
        .table(RotatedSecrets::Table)
        .col(RotatedSecrets::KeyId)
        .col(RotatedSecrets::Id)
        .unique()
        .to_owned();
    manager.create_index(by_key).await
}

#[derive(DeriveIden)]
enum SecretLastUsed {
    Table,
    /// No foreign key: the secret may be in either of two tables.
    SecretId,
    LastUsedAt,
}

async fn create_secret_last_used(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = Table::create();
    table
        .table(SecretLastUsed::Table)
        .col(uuid(SecretLastUsed::SecretId).primary_key())
        .col(timestamp_with_time_zone(SecretLastUsed::LastUsedAt));
    manager.create_table(clustered(manager, table)).await
}

/// The last use is a subquery rather than a join, so that PostgreSQL always uses the primary key's index, whatever it
/// estimates the size of the tables to be.
const SECRETS_VIEW: &str = "
    CREATE VIEW secrets AS
    SELECT secret_hash AS hash, secret_id AS id, id AS key_id, secret_pepper_id AS pepper_id, secret_start AS start,
        secret_last4 AS last4, secret_created_at AS created_at, NULL AS expires_at,
        (SELECT u.last_used_at FROM secret_last_used u WHERE u.secret_id = k.secret_id) AS last_used_at
    FROM api_keys k
    UNION ALL
    SELECT hash, id, key_id, pepper_id, start, last4, created_at, expires_at,
        (SELECT u.last_used_at FROM secret_last_used u WHERE u.secret_id = r.id)
    FROM rotated_secrets r";

#[derive(DeriveIden)]
enum Peppers {
    Table,
    /// Derived from the master secret, which it does not reveal.
    Id,
    FirstUsedAt,
}

/// A server whose master secret derives none of these peppers refuses to start.
async fn create_peppers(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = Table::create();
    table
        .table(Peppers::Table)
        .col(text(Peppers::Id).primary_key())
        .col(timestamp_with_time_zone(Peppers::FirstUsedAt));
    manager.create_table(table).await
}

#[derive(DeriveIden)]
enum OwnerKeyCounts {
    Table,
    /// As in `api_keys`.
    Issuer,
    Subject,
    Organization,
    Keys,
}

async fn create_owner_key_counts(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let owner = Index::create()
        .col(OwnerKeyCounts::Issuer)
        .col(OwnerKeyCounts::Subject)
        .col(OwnerKeyCounts::Organization)
        .to_owned();
    let mut table = Table::create();
    table
        .table(OwnerKeyCounts::Table)
        .col(text(OwnerKeyCounts::Issuer))
        .col(text(OwnerKeyCounts::Subject))
        .col(text(OwnerKeyCounts::Organization))
        .col(big_integer(OwnerKeyCounts::Keys))
        .primary_key(&mut owner.clone());
    manager.create_table(clustered(manager, table)).await
}

#[derive(DeriveIden)]
enum IdempotencyRecords {
    Table,
    /// A keyed hash of caller, operation and `Idempotency-Key`.
    Id,
    /// A hash of the request body: the same `Idempotency-Key` with another body is an error.
    Fingerprint,
    /// Encrypted with a key derived from the `Idempotency-Key`, because it contains a secret.
    SealedResponse,
    ExpiresAt,
}

async fn create_idempotency_records(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = Table::create();
    table
        .table(IdempotencyRecords::Table)
        .col(blob(IdempotencyRecords::Id).primary_key())
        .col(blob(IdempotencyRecords::Fingerprint))
        .col(blob(IdempotencyRecords::SealedResponse))
        .col(timestamp_with_time_zone(IdempotencyRecords::ExpiresAt));
    manager.create_table(table).await?;
    // For the cleanup of expired records.
    let by_expiry = Index::create()
        .name("idempotency_records_by_expiry")
        .table(IdempotencyRecords::Table)
        .col(IdempotencyRecords::ExpiresAt)
        .to_owned();
    manager.create_index(by_expiry).await
}

#[derive(DeriveIden)]
enum KeyUsage {
    Table,
    KeyId,
    /// In UTC.
    Day,
    /// The result of the verification, for example `VALID` or `EXPIRED`.
    Verdict,
    Count,
}

async fn create_key_usage(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = Table::create();
    table
        .table(KeyUsage::Table)
        .col(uuid(KeyUsage::KeyId))
        .col(date(KeyUsage::Day))
        .col(text(KeyUsage::Verdict))
        .col(big_integer(KeyUsage::Count))
        .primary_key(Index::create().col(KeyUsage::KeyId).col(KeyUsage::Day).col(KeyUsage::Verdict));
    manager.create_table(clustered(manager, table)).await
}

#[derive(DeriveIden)]
enum SchemaVersion {
    Table,
    /// Always 1: there is one row.
    Id,
    Version,
    MinBinaryVersion,
}

async fn create_schema_version(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut table = Table::create();
    table
        .table(SchemaVersion::Table)
        .col(integer(SchemaVersion::Id).primary_key())
        .col(integer(SchemaVersion::Version))
        .col(integer(SchemaVersion::MinBinaryVersion));
    manager.create_table(table).await
}
