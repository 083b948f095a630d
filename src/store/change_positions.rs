//! Change positions: audit events in the order of commits, whatever the clocks showed. For the revocation log.

use chrono::{DateTime, Utc};
use entity::key_change_event::{self, Column};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select, Statement};
use uuid::Uuid;

use crate::store::{Engine, Store, StoreError};

/// The event of a change that was committed.
#[derive(Debug)]
pub struct CommittedChange {
    pub position: i64,
    pub event_id: Uuid,
    /// By the clock of the process that made the change.
    pub at: DateTime<Utc>,
    pub action: String,
    /// `None` if the creation of a key was refused.
    pub key_id: Option<Uuid>,
}

impl Store {
    /// Returns a position such that every change at or before it is committed. A later change may be committed as well.
    pub async fn change_position(&self) -> Result<i64, StoreError> {
        let query = match self.engine {
            Engine::Sqlite(_) => "SELECT coalesce(max(position), 0) AS position FROM key_change_events",
            // Every transaction before the oldest that still runs has ended.
            Engine::Postgres(_) => "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1 AS position",
        };
        self.read(async |database| {
            let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), query)).await?;
            row.ok_or_else(|| DbErr::RecordNotFound("the position".into()))?.try_get("", "position")
        })
        .await
    }

    /// Returns at most `limit` changes in the order of their positions, after a position and an event at it.
    pub async fn list_changes(&self, after: (i64, Uuid), limit: u64) -> Result<Vec<CommittedChange>, StoreError> {
        let page = changes_query(after, limit);
        let rows = self.read(async |database| page.all(database).await).await?;
        let from_row = |row: key_change_event::Model| CommittedChange {
            position: row.position,
            event_id: row.id,
            at: row.occurred_at,
            action: row.action,
            key_id: row.key_id,
        };
        Ok(rows.into_iter().map(from_row).collect())
    }

    pub async fn has_change(&self, event_id: Uuid) -> Result<bool, StoreError> {
        let event = key_change_event::Entity::find_by_id(event_id).select_only().column(Column::Id);
        let found = self.read(async |database| event.into_tuple::<Uuid>().one(database).await).await?;
        Ok(found.is_some())
    }
}

/// Compares a row value, which both databases find in the index: a transaction may write many events.
fn changes_query((position, event_id): (i64, Uuid), limit: u64) -> Select<key_change_event::Entity> {
    let cursor = Expr::tuple([Expr::col(Column::Position), Expr::col(Column::Id)]);
    key_change_event::Entity::find()
        .filter(cursor.gt(Expr::tuple([Expr::value(position), Expr::value(event_id)])))
        .order_by_asc(Column::Position)
        .order_by_asc(Column::Id)
        .limit(limit)
}

#[cfg(test)]
mod tests {
    use sea_orm::{DbBackend, QueryTrait};
    use serde_json::json;

    use super::*;
    use crate::domain::audit::Action;
    use crate::store::api_keys::{audit_event, key_insert};

    #[tokio::test]
    async fn changes_are_found_by_position_without_sort() {
        let (store, _directory) = Store::temporary().await;
        let plan = store.plan(changes_query((0, Uuid::max()), 20).build(DbBackend::Sqlite)).await;
        assert_eq!(plan, ["SEARCH key_change_events USING INTEGER PRIMARY KEY (rowid>?)"]);
    }

    #[tokio::test]
    async fn positions_follow_commits_when_the_clock_goes_back() {
        let (store, _directory) = Store::temporary().await;
        assert_eq!(store.change_position().await.unwrap(), 0);
        let key = key_insert(1).key;
        let mut events: Vec<_> = (0..3).map(|_| audit_event(Action::Revoked, &key, json!({}))).collect();
        // The later an event, the lower its id.
        events.sort_by_key(|event| std::cmp::Reverse(event.id));
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        store.create_event(events.remove(0)).await.unwrap();
        let position = store.change_position().await.unwrap();
        for event in events {
            store.create_event(event).await.unwrap();
        }

        let listed = async |after| store.list_changes(after, 10).await.unwrap();
        let ids_of = |changes: Vec<CommittedChange>| changes.iter().map(|one| one.event_id).collect::<Vec<_>>();
        let changes = listed((position, Uuid::max())).await;
        assert_eq!(ids_of(listed((changes[0].position, changes[0].event_id)).await), ids[2..]);
        assert_eq!(ids_of(changes), ids[1..]);
        assert_eq!(ids_of(listed((0, Uuid::max())).await), ids);
        assert!(store.has_change(ids[0]).await.unwrap() && !store.has_change(key.id).await.unwrap());
    }
}
