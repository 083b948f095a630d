//! Scan: reads a page of a list from a bounded number of rows.
//!
//! A filter may match few of many rows, or none, and no index serves every filter. So a page examines at most
//! [`MAX_EXAMINED`] rows, newest first, of a range that one index holds in the order of ids, and stops. It then has fewer
//! items than requested, or none, and leads to a page that continues after the last row examined. The bound is part of
//! the statement, so it holds whatever plan the database chooses, and whether or not a client still waits.

use sea_orm::sea_query::Alias;
use sea_orm::{
    ColumnTrait, Condition, DatabaseConnection, DbErr, EntityTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, Select, SelectModel, Selector,
};
use uuid::Uuid;

use crate::domain::list_page::ListPage;

/// The rows that one page examines. SQLite and PostgreSQL take a few milliseconds for them.
pub const MAX_EXAMINED: u64 = 2000;

/// The rows of a list, newest first. `E` has a UUIDv7 as its id.
pub struct Scan<E: EntityTrait> {
    id: E::Column,
    range: Condition,
}

impl<E: EntityTrait> Scan<E> {
    /// Scans the rows in `range` that are older than `after`. An index must begin with the columns of `range`, all of
    /// them compared for equality, and continue with the id.
    pub fn new(id: E::Column, range: Condition, after: Option<Uuid>) -> Self {
        Self { id, range: range.add_option(after.map(|after| id.lt(after))) }
    }

    /// Reads a page of at most `limit` rows that `filter` matches. `columns` selects what is read of each.
    pub async fn page<M: FromQueryResult, T>(
        &self,
        database: &DatabaseConnection,
        filter: Condition,
        limit: u64,
        columns: impl FnOnce(Select<E>) -> Selector<SelectModel<M>>,
        item: impl Fn(M) -> Result<T, DbErr>,
        id: impl Fn(&T) -> Uuid,
    ) -> Result<ListPage<T>, DbErr> {
        let rows = columns(self.matching(filter, limit + 1)).all(database).await?;
        let items = rows.into_iter().map(item).collect::<Result<_, _>>()?;
        let mut page = ListPage::from_lookahead(items, limit, &id);
        if page.next.is_none() {
            // A row that another process has inserted into the range since moves the end to a newer row. The next page
            // must not repeat an item, so it begins after the last one.
            let end = self.end().into_tuple::<Uuid>().one(database).await?;
            page.next = end.map(|end| page.items.last().map(&id).map_or(end, |last| last.min(end)));
        }
        Ok(page)
    }

    /// Selects the first rows that `filter` matches of those to examine. They are read in the order of the inner query,
    /// and only as many as needed. With an order of its own, the outer query would make SQLite read and sort all of them.
    pub fn matching(&self, filter: Condition, limit: u64) -> Select<E> {
        let examined = self.newest_first().limit(MAX_EXAMINED).into_query();
        let mut matching = E::find().filter(filter).limit(limit);
        let table = Alias::new(E::default().table_name());
        QueryTrait::query(&mut matching).from_clear().from_subquery(examined, table);
        matching
    }

    /// Selects the id of the last row to examine, if there are as many.
    pub fn end(&self) -> Select<E> {
        self.newest_first().select_only().column(self.id).offset(MAX_EXAMINED - 1).limit(1)
    }

    fn newest_first(&self) -> Select<E> {
        E::find().filter(self.range.clone()).order_by_desc(self.id)
    }
}
