//! Peppers: which ones the secrets in this database were hashed with, and how many depend on each.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use entity::{api_key, pepper, rotated_secret};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, JoinType, QueryFilter, QueryOrder,
    QuerySelect,
};
use uuid::Uuid;

use crate::domain::secret_hash::RegisteredPepper;
use crate::store::{Store, StoreError};

/// A pepper, and the number of stored secrets that only it can verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PepperUse {
    pub pepper: RegisteredPepper,
    pub secrets: u64,
}

/// Rows that one statement counts, so that counting neither meets the statement timeout nor keeps an old snapshot of
/// the database alive.
const COUNT_PAGE: u64 = 10_000;

impl Store {
    /// The registered peppers, in the order in which they were registered.
    pub async fn registered_peppers(&self) -> Result<Vec<RegisteredPepper>, StoreError> {
        let query = pepper::Entity::find().order_by_asc(pepper::Column::FirstUsedAt).order_by_asc(pepper::Column::Id);
        let rows = self.read(async |database| query.all(database).await).await?;
        Ok(rows.into_iter().map(|row| RegisteredPepper { id: row.id, first_used_at: row.first_used_at }).collect())
    }

    /// Registers the pepper of new secrets, and removes peppers that nothing depends on. `seen` are the registered
    /// peppers that the caller decided by. Returns false, and changes nothing, if they have changed since: of two
    /// processes that start on an empty database with different master secrets, the second must see the first one's.
    pub async fn register_pepper(
        &self,
        newest: &str,
        unused: &[String],
        seen: &[RegisteredPepper],
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.write_exclusive(async |transaction| Ok(register(transaction, newest, unused, seen, now).await?)).await
    }

    /// Registers a pepper again that another process removed as unused while this one was creating secrets with it.
    pub async fn keep_pepper_registered(&self, pepper: &RegisteredPepper) -> Result<(), StoreError> {
        let row = pepper::ActiveModel { id: Set(pepper.id.clone()), first_used_at: Set(pepper.first_used_at) };
        let unless_registered = OnConflict::column(pepper::Column::Id).do_nothing().to_owned();
        let insert = pepper::Entity::insert(row).on_conflict(unless_registered);
        self.write(async |transaction| insert.exec_without_returning(transaction).await.map(drop)).await
    }

    /// Counts the secrets that could be verified with each registered pepper, and with unregistered ones that stored
    /// secrets name: the current secrets of keys that are not revoked, and rotated secrets in their grace. Reads every
    /// key, page by page.
    pub async fn count_secrets_by_pepper(&self, now: DateTime<Utc>) -> Result<Vec<PepperUse>, StoreError> {
        let registered = self.registered_peppers().await?;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut after = Some(Uuid::nil());
        while let Some(page) = after {
            let (counted, next) = self.scan(async |database| count_current(database, page).await).await?;
            add(&mut counts, counted);
            after = next;
        }
        let mut after = Some(Vec::new());
        while let Some(page) = after {
            let (counted, next) = self.scan(async |database| count_rotated(database, page, now).await).await?;
            add(&mut counts, counted);
            after = next;
        }
        let mut uses: Vec<_> = registered
            .into_iter()
            .map(|pepper| PepperUse { secrets: counts.remove(&pepper.id).unwrap_or_default(), pepper })
            .collect();
        let unregistered = |(id, secrets)| PepperUse { pepper: RegisteredPepper { id, first_used_at: now }, secrets };
        uses.extend(counts.into_iter().map(unregistered));
        Ok(uses)
    }
}

async fn register(
    transaction: &DatabaseTransaction,
    newest: &str,
    unused: &[String],
    seen: &[RegisteredPepper],
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let stored = pepper::Entity::find().all(transaction).await?;
    if stored.len() != seen.len() || stored.iter().any(|row| seen.iter().all(|seen| seen.id != row.id)) {
        return Ok(false);
    }
    if stored.iter().all(|row| row.id != newest) {
        // Later than all others, also if the clock of this machine is behind.
        let last = stored.iter().map(|row| row.first_used_at).max();
        let first_used_at = last.map_or(now, |last| now.max(last + TimeDelta::microseconds(1)));
        let row = pepper::ActiveModel { id: Set(newest.to_owned()), first_used_at: Set(first_used_at) };
        pepper::Entity::insert(row).exec_without_returning(transaction).await?;
    }
    if !unused.is_empty() {
        pepper::Entity::delete_many().filter(pepper::Column::Id.is_in(unused)).exec(transaction).await?;
    }
    Ok(true)
}

type Counts = Vec<(String, i64)>;

fn add(counts: &mut BTreeMap<String, u64>, page: Counts) {
    for (pepper, secrets) in page {
        *counts.entry(pepper).or_default() += u64::try_from(secrets).unwrap_or_default();
    }
}

/// Counts the current secrets of a page of keys. Returns the last id of the page, or `None` if it was the last page.
async fn count_current(database: &DatabaseConnection, after: Uuid) -> Result<(Counts, Option<Uuid>), DbErr> {
    use api_key::Column;

    let ids = api_key::Entity::find().select_only().column(Column::Id).filter(Column::Id.gt(after));
    let last: Option<Uuid> =
        ids.order_by_asc(Column::Id).offset(COUNT_PAGE - 1).limit(1).into_tuple().one(database).await?;
    let mut page = api_key::Entity::find().filter(Column::Id.gt(after)).filter(Column::RevokedAt.is_null());
    if let Some(last) = last {
        page = page.filter(Column::Id.lte(last));
    }
    let counts = page.select_only().column(Column::SecretPepperId).column_as(Column::Id.count(), "secrets");
    Ok((counts.group_by(Column::SecretPepperId).into_tuple().all(database).await?, last))
}

/// The same for rotated secrets.
async fn count_rotated(
    database: &DatabaseConnection,
    after: Vec<u8>,
    now: DateTime<Utc>,
) -> Result<(Counts, Option<Vec<u8>>), DbErr> {
    use rotated_secret::Column;

    let hashes =
        rotated_secret::Entity::find().select_only().column(Column::Hash).filter(Column::Hash.gt(after.clone()));
    let last: Option<Vec<u8>> =
        hashes.order_by_asc(Column::Hash).offset(COUNT_PAGE - 1).limit(1).into_tuple().one(database).await?;
    let key = rotated_secret::Entity::belongs_to(api_key::Entity).from(Column::KeyId).to(api_key::Column::Id);
    let mut page = rotated_secret::Entity::find()
        .join(JoinType::InnerJoin, key.into())
        .filter(api_key::Column::RevokedAt.is_null())
        .filter(Column::Hash.gt(after))
        .filter(Column::ExpiresAt.gt(now));
    if let Some(last) = &last {
        page = page.filter(Column::Hash.lte(last.clone()));
    }
    let counts = page.select_only().column(Column::PepperId).column_as(Column::Hash.count(), "secrets");
    Ok((counts.group_by(Column::PepperId).into_tuple().all(database).await?, last))
}
