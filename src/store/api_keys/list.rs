//! List: pages of keys, newest first.
//!
//! The cursor is the id of the last key of a page. Ids are UUIDv7, so they sort by creation time, and `id < cursor` is
//! an index search: the thousandth page is as fast as the first, and keys created or deleted meanwhile shift no page.

use chrono::{DateTime, Utc};
use entity::api_key::{self, Column};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, Condition, QueryFilter, QueryOrder, QuerySelect, Select};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyStatus};
use crate::store::api_keys::access::KEY_OWNER;
use crate::store::api_keys::rows::{self, KeyRow};
use crate::store::api_keys::search::words;
use crate::store::{Store, StoreError};

#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub organization: Option<String>,
    /// The key that created it.
    pub created_by_key: Option<Uuid>,
    pub status: Option<KeyStatus>,
    /// Each word of it must be a prefix of a word in the name.
    pub q: Option<String>,
    pub created_before: Option<DateTime<Utc>>,
}

impl KeyFilter {
    /// True if no owner has these values: a token with a control character in them is rejected. PostgreSQL fails on
    /// U+0000 in a text.
    fn matches_no_owner(&self) -> bool {
        let values = [&self.issuer, &self.subject, &self.organization];
        values.into_iter().flatten().any(|value| value.contains(char::is_control))
    }
}

impl Store {
    /// Returns at most `limit` keys that were created before the key `after`.
    pub async fn list_keys(
        &self,
        access: AccessFilter<'_>,
        filter: &KeyFilter,
        after: Option<Uuid>,
        limit: u64,
        now: DateTime<Utc>,
    ) -> Result<Vec<ApiKey>, StoreError> {
        if filter.matches_no_owner() {
            return Ok(Vec::new());
        }
        let page = key_page_query(access, filter, after, limit, now);
        self.read(async |database| {
            page.into_partial_model::<KeyRow>().all(database).await?.into_iter().map(rows::key_from_row).collect()
        })
        .await
    }
}

fn key_page_query(
    access: AccessFilter<'_>,
    filter: &KeyFilter,
    after: Option<Uuid>,
    limit: u64,
    now: DateTime<Utc>,
) -> Select<api_key::Entity> {
    let equals = |column: Column, value: &Option<String>| value.as_ref().map(|value| column.eq(value));
    let words = filter.q.iter().flat_map(|q| words(q)).map(|word| Column::NameWords.contains(format!(" {word}")));
    let condition = Condition::all()
        .add_option(equals(Column::OwnerIssuer, &filter.issuer))
        .add_option(equals(Column::OwnerSubject, &filter.subject))
        .add_option(filter.organization.as_ref().map(|name| KEY_OWNER.in_organization(name)))
        .add_option(filter.created_by_key.map(|id| Column::CreationActorKeyId.eq(id)))
        .add_option(filter.created_before.map(|time| Column::CreatedAt.lt(time)))
        .add_option(filter.status.map(|status| has_status(status, now)))
        .add_option(after.map(|after| Column::Id.lt(after)));
    let condition = words.fold(condition, Condition::add);
    access.api_keys_query().filter(condition).order_by_desc(Column::Id).limit(limit)
}

/// The condition for [`ApiKey::status`] to be `status`.
fn has_status(status: KeyStatus, now: DateTime<Utc>) -> Condition {
    let expired = Expr::col(Column::ExpiresAt).is_not_null().and(Column::ExpiresAt.lte(now));
    let alive = Condition::all().add(Column::RevokedAt.is_null());
    match status {
        KeyStatus::Revoked => Condition::all().add(Column::RevokedAt.is_not_null()),
        KeyStatus::Disabled => alive.add(Column::Enabled.eq(false)),
        KeyStatus::Expired => alive.add(Column::Enabled.eq(true)).add(expired),
        KeyStatus::Active => alive.add(Column::Enabled.eq(true)).add(expired.not()),
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::{DbBackend, QueryTrait};

    use super::*;
    use crate::domain::owner::Owner;

    #[tokio::test]
    async fn page_is_an_index_search_without_scan_or_sort() {
        let (store, _directory) = Store::temporary().await;
        let owner = Owner { issuer: "i".into(), subject: "s".into(), organization: None };
        let now = DateTime::from_timestamp(1, 0).unwrap();
        let filters = KeyStatus::ALL.map(|status| KeyFilter { status: Some(status), ..KeyFilter::default() });
        for filter in filters.iter().chain([&KeyFilter::default()]) {
            let statement = key_page_query(AccessFilter::Owner(&owner), filter, Some(Uuid::nil()), 20, now)
                .build(DbBackend::Sqlite);
            assert_eq!(
                store.plan(statement).await,
                ["SEARCH api_keys USING INDEX api_keys_by_owner (owner_issuer=? AND owner_subject=? AND \
                  owner_organization=? AND id<?)"]
            );
        }
    }

    #[tokio::test]
    async fn page_of_an_administrator_is_an_index_search() {
        let (store, _directory) = Store::temporary().await;
        let now = DateTime::from_timestamp(1, 0).unwrap();
        let of_organization = AccessFilter::Organization { issuer: "i", organization: "o" };
        let filter = |issuer: Option<&str>, organization: Option<&str>| KeyFilter {
            issuer: issuer.map(str::to_owned),
            organization: organization.map(str::to_owned),
            ..KeyFilter::default()
        };
        let by_both = "api_keys_by_issuer_and_organization (owner_issuer=? AND owner_organization=? AND id<?)";
        for (access, filter, index) in [
            (AccessFilter::Issuer("i"), filter(None, None), "api_keys_by_issuer (owner_issuer=? AND id<?)"),
            (AccessFilter::Issuer("i"), filter(None, Some("o")), by_both),
            (of_organization, filter(None, None), by_both),
            (of_organization, filter(Some("i"), Some("o")), by_both),
            (AccessFilter::Any, filter(Some("i"), None), "api_keys_by_issuer (owner_issuer=? AND id<?)"),
            (AccessFilter::Any, filter(Some("i"), Some("o")), by_both),
            (AccessFilter::Any, filter(None, Some("o")), "api_keys_by_organization (owner_organization=? AND id<?)"),
            (AccessFilter::Any, filter(None, None), "sqlite_autoindex_api_keys_1 (id<?)"),
        ] {
            let page = key_page_query(access, &filter, Some(Uuid::nil()), 20, now).build(DbBackend::Sqlite);
            assert_eq!(
                store.plan(page).await,
                [format!("SEARCH api_keys USING INDEX {index}")],
                "{access:?} {filter:?}"
            );
        }
    }

    #[tokio::test]
    async fn page_of_keys_created_by_a_key_is_an_index_search_without_scan_or_sort() {
        let (store, _directory) = Store::temporary().await;
        let filter = KeyFilter { created_by_key: Some(Uuid::nil()), ..KeyFilter::default() };
        let now = DateTime::from_timestamp(1, 0).unwrap();
        let statement = key_page_query(AccessFilter::Any, &filter, Some(Uuid::nil()), 20, now).build(DbBackend::Sqlite);
        assert_eq!(
            store.plan(statement).await,
            ["SEARCH api_keys USING INDEX api_keys_by_creating_key (creation_actor_key_id=? AND id<?)"]
        );
    }
}
