//! Audit events: inserted in the transaction of the change that they describe, and read by page. The event of a key's
//! creation is in the key's row; the view `audit_events` combines both.

use entity::audit_event::{self, Column};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Select,
};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::audit::{Action, Actor, AuditEvent};
use crate::store::owner::{OwnerColumns, organization_column, owner_from_columns};
use crate::store::{Store, StoreError};

const EVENT_OWNER: OwnerColumns<Column> =
    OwnerColumns(Column::OwnerIssuer, Column::OwnerSubject, Column::OwnerOrganization);

#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// The changed key.
    pub key_id: Option<Uuid>,
    /// The key that made the change.
    pub actor_key_id: Option<Uuid>,
    pub action: Option<Action>,
}

impl Store {
    /// Returns at most `limit` events older than `after`, newest first. Owners see events of deleted keys, too.
    pub async fn list_events(
        &self,
        access: AccessFilter<'_>,
        filter: &EventFilter,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        let page = event_page_query(access, filter, after, limit);
        self.read(async |database| page.all(database).await?.into_iter().map(event_from_row).collect()).await
    }
}

fn event_page_query(
    access: AccessFilter<'_>,
    filter: &EventFilter,
    after: Option<Uuid>,
    limit: u64,
) -> Select<audit_event::Entity> {
    audit_event::Entity::find()
        .filter(
            EVENT_OWNER
                .admitted_by(access)
                .add_option(filter.key_id.map(|id| Column::KeyId.eq(id)))
                .add_option(filter.actor_key_id.map(|id| Column::ActorKeyId.eq(id)))
                .add_option(filter.action.map(|action| Column::Action.eq(action.as_str())))
                .add_option(after.map(|after| Column::Id.lt(after))),
        )
        .order_by_desc(Column::Id)
        .limit(limit)
}

impl Store {
    /// Writes the event of an operation that changed nothing.
    pub async fn create_event(&self, event: AuditEvent) -> Result<(), StoreError> {
        self.write(async |transaction| insert_events(transaction, &[event]).await).await
    }
}

pub async fn insert_events(transaction: &DatabaseTransaction, events: &[AuditEvent]) -> Result<(), DbErr> {
    let mut insert = audit_event::Entity::insert_many(events.iter().map(event_to_row));
    insert.query().into_table(audit_event::CHANGES_TABLE);
    insert.exec_without_returning(transaction).await.map(drop)
}

fn event_to_row(event: &AuditEvent) -> audit_event::ActiveModel {
    audit_event::ActiveModel {
        id: Set(event.id),
        occurred_at: Set(event.at),
        action: Set(event.action.clone()),
        actor_kind: Set(event.actor.kind.clone()),
        actor_issuer: Set(event.actor.issuer.clone()),
        actor_subject: Set(event.actor.subject.clone()),
        actor_key_id: Set(event.actor.key_id),
        key_id: Set(event.key_id),
        owner_issuer: Set(event.owner.issuer.clone()),
        owner_subject: Set(event.owner.subject.clone()),
        owner_organization: Set(organization_column(&event.owner).to_owned()),
        request_id: Set(event.request_id.clone()),
        client_address: Set(event.client_address.clone()),
        user_agent: Set(event.user_agent.clone()),
        changes: Set(changes_json(&event.changes)),
    }
}

/// The stored form of an event's changes.
pub fn changes_json(changes: &Value) -> String {
    serde_json::to_string(changes).expect("a JSON value is valid JSON")
}

fn event_from_row(row: audit_event::Model) -> Result<AuditEvent, DbErr> {
    let changes = serde_json::from_str(&row.changes)
        .map_err(|error| DbErr::Custom(format!("audit event {} has invalid JSON: {error}", row.id)))?;
    Ok(AuditEvent {
        id: row.id,
        at: row.occurred_at,
        action: row.action,
        actor: Actor {
            kind: row.actor_kind,
            issuer: row.actor_issuer,
            subject: row.actor_subject,
            key_id: row.actor_key_id,
        },
        request_id: row.request_id,
        client_address: row.client_address,
        user_agent: row.user_agent,
        key_id: row.key_id,
        owner: owner_from_columns(row.owner_issuer, row.owner_subject, row.owner_organization),
        changes,
    })
}

#[cfg(test)]
mod tests {
    use sea_orm::DbBackend;

    use super::*;
    use crate::domain::owner::Owner;

    #[tokio::test]
    async fn page_is_two_index_searches_without_scan_or_sort() {
        let (store, _directory) = Store::temporary().await;
        let owner = Owner { issuer: "i".into(), subject: "s".into(), organization: None };
        let of_key = EventFilter { key_id: Some(Uuid::nil()), ..EventFilter::default() };
        let by_key = EventFilter { actor_key_id: Some(Uuid::nil()), ..EventFilter::default() };
        let of_organization = AccessFilter::Organization { issuer: "i", organization: "o" };
        for access in [AccessFilter::Owner(&owner), of_organization, AccessFilter::Issuer("i"), AccessFilter::Any] {
            for filter in [&EventFilter::default(), &of_key, &by_key] {
                let plan =
                    store.plan(event_page_query(access, filter, Some(Uuid::nil()), 20).build(DbBackend::Sqlite)).await;
                let [merge, _left, changes, _right, keys] = &plan[..] else { panic!("{plan:?}") };
                assert_eq!(merge, "MERGE (UNION ALL)");
                assert!(changes.starts_with("SEARCH key_change_events USING "), "{changes}");
                assert!(keys.starts_with("SEARCH api_keys USING "), "{keys}");
                if filter.key_id.is_none() && filter.actor_key_id.is_none() {
                    let columns = match access {
                        AccessFilter::Owner(_) => {
                            "(owner_issuer=? AND owner_subject=? AND owner_organization=? AND id<?)"
                        }
                        AccessFilter::Organization { .. } => "(owner_issuer=? AND owner_organization=? AND id<?)",
                        AccessFilter::Issuer(_) => "(owner_issuer=? AND id<?)",
                        AccessFilter::Any => "(id<?)",
                    };
                    assert!(changes.ends_with(columns) && keys.ends_with(columns), "{changes}, {keys}");
                }
            }
        }
    }
}
