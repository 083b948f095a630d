//! Examine: reads keys one after the other, newest first, and says which of them match a filter.
//!
//! A query for matching keys would read as many others as there are before it has found enough, and time out. This reads
//! a bounded number of keys, whether or not they match, in the order of an index, as a list does.

use std::cmp::Reverse;

use chrono::DateTime;
use entity::api_key::{self, Column};
use sea_orm::sea_query::{Alias, Expr, Query, SelectStatement};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait,
};
use uuid::Uuid;

use crate::domain::access::{AccessFilter, AdminAccess};
use crate::domain::revocation_job::RevocationFilter;
use crate::store::api_keys::{KeyFilter, key_condition, key_range};
use crate::store::{Store, StoreError};

pub struct ExaminedKey {
    pub id: Uuid,
    /// True if the key is within the reach. Others are not counted: their number is not for the administrator.
    pub is_reached: bool,
    /// True if the key matches the filter.
    pub matches: bool,
    /// True if the key is not revoked.
    pub is_live: bool,
    /// True if the key has created others. False if that was not looked for.
    pub has_children: bool,
}

/// Which of some keys match a filter.
pub struct KeyPage {
    /// Ids of the matching keys that are not revoked.
    pub live: Vec<Uuid>,
    /// Ids of the matching keys, revoked or not, that have created others.
    pub creators: Vec<Uuid>,
    /// The id of the last key; `None` if it was the last of all.
    pub next: Option<Uuid>,
}

impl Store {
    /// Examines at most `limit` keys with ids lower than `below`. Looks for those that have created others if `children`.
    pub async fn find_matching_keys(
        &self,
        reach: AdminAccess<'_>,
        filter: &RevocationFilter,
        children: bool,
        below: Uuid,
        limit: u64,
    ) -> Result<KeyPage, StoreError> {
        let page = self.scan(async |database| examine(database, reach, filter, children, below, limit).await).await?;
        let next = page.last().filter(|_| page.len() as u64 == limit).map(|key| key.id);
        let ids = |which: fn(&ExaminedKey) -> bool| {
            page.iter().filter(|key| key.matches && which(key)).map(|key| key.id).collect()
        };
        Ok(KeyPage { live: ids(|key| key.is_live), creators: ids(|key| key.has_children), next })
    }
}

/// Reads at most `limit` keys with ids lower than `below`, by descending id.
pub async fn examine<C: ConnectionTrait>(
    connection: &C,
    reach: AdminAccess<'_>,
    filter: &RevocationFilter,
    children: bool,
    below: Uuid,
    limit: u64,
) -> Result<Vec<ExaminedKey>, DbErr> {
    let query = examine_query(reach, filter, children, below, limit);
    let rows = connection.query_all_raw(connection.get_database_backend().build(&query)).await?;
    let examined = |row: &QueryResult| {
        Ok(ExaminedKey {
            id: row.try_get("", "id")?,
            is_reached: row.try_get("", "is_reached")?,
            matches: row.try_get("", "matches")?,
            is_live: row.try_get("", "is_live")?,
            has_children: row.try_get("", "has_children")?,
        })
    };
    let mut page: Vec<_> = rows.iter().map(examined).collect::<Result<_, DbErr>>()?;
    // The order of a subquery is not promised.
    page.sort_unstable_by_key(|key| Reverse(key.id));
    Ok(page)
}

fn examine_query(
    reach: AdminAccess<'_>,
    filter: &RevocationFilter,
    children: bool,
    below: Uuid,
    limit: u64,
) -> SelectStatement {
    let RevocationFilter { issuer, subject, organization, created_by_key, created_before } = filter.clone();
    let filter = KeyFilter { issuer, subject, organization, created_by_key, created_before, ..KeyFilter::default() };
    let is_reached = AccessFilter::from(reach).api_keys_condition().add(Expr::value(true));
    // Only a status depends on the time.
    let matches = key_condition(reach.into(), &filter, DateTime::UNIX_EPOCH).add(Expr::value(true));
    let keys = api_key::Entity::find().filter(key_range(reach.into(), &filter)).filter(Column::Id.lt(below));
    let keys = keys.order_by_desc(Column::Id).limit(limit).into_query();
    let has_children = "EXISTS (SELECT 1 FROM api_keys child WHERE child.creation_actor_key_id = api_keys.id)";
    let has_children = if children { Expr::cust(has_children) } else { Expr::value(false) };
    Query::select()
        .column(Column::Id)
        .expr_as(Expr::from(is_reached), Alias::new("is_reached"))
        .expr_as(Expr::from(matches), Alias::new("matches"))
        .expr_as(Column::RevokedAt.is_null(), Alias::new("is_live"))
        .expr_as(has_children, Alias::new("has_children"))
        .from_subquery(keys, api_key::Entity)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use sea_orm::DbBackend;

    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[tokio::test]
    async fn examination_is_an_index_search_without_scan_or_sort() {
        let (store, _directory) = Store::temporary().await;
        let none = RevocationFilter::default();
        let of = |issuer, subject, organization| RevocationFilter { issuer, subject, organization, ..none.clone() };
        let of_creator = RevocationFilter { created_by_key: Some(Uuid::nil()), ..none.clone() };
        let before = RevocationFilter { created_before: chrono::DateTime::from_timestamp(1, 0), ..none.clone() };
        let of_organization = AdminAccess::Organization { issuer: "i", organization: "o" };
        let by_organization = "api_keys_by_issuer_and_organization (owner_issuer=? AND owner_organization=? AND id<?)";
        let by_owner = "api_keys_by_owner (owner_issuer=? AND owner_subject=? AND owner_organization=? AND id<?)";
        let by_id = "sqlite_autoindex_api_keys_1 (id<?)";
        for (reach, filter, index) in [
            (AdminAccess::Any, before, by_id),
            (AdminAccess::Any, of(None, some("s"), None), by_id),
            (AdminAccess::Any, of(some("i"), some("s"), None), by_id),
            (AdminAccess::Any, of(some("i"), some("s"), some("o")), by_owner),
            (AdminAccess::Any, of_creator, "api_keys_by_creating_key (creation_actor_key_id=? AND id<?)"),
            (AdminAccess::Issuer("i"), of(None, some("s"), None), by_id),
            (AdminAccess::Issuer("i"), of(None, None, some("o")), by_organization),
            (AdminAccess::Issuer("i"), of(None, some("s"), some("o")), by_owner),
            (of_organization, none.clone(), by_organization),
            (of_organization, of(None, some("s"), None), by_owner),
        ] {
            let query = examine_query(reach, &filter, true, Uuid::nil(), 20);
            let plan = store.plan(DbBackend::Sqlite.build(&query)).await;
            let search = format!("SEARCH api_keys USING INDEX {index}");
            assert!(plan.contains(&search), "{reach:?} {filter:?}: {plan:?}");
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{reach:?} {filter:?}: {plan:?}");
        }
    }
}
