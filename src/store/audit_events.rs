//! Audit events: inserted in the transaction of the change that they describe, and read by page. The event of a key's
//! creation is in the key's row; the view `audit_events` combines both.

use entity::audit_event::{self, Column};
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, DbErr, EntityTrait, QueryTrait, Select};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::audit::{Action, Actor, AuditEvent};
use crate::domain::list_page::ListPage;
use crate::store::owner::{OwnerColumns, organization_column, owner_from_columns};
use crate::store::scan::Scan;
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
    /// Lists at most `limit` events older than `after`, newest first. Owners see events of deleted keys, too.
    pub async fn list_events(
        &self,
        access: AccessFilter<'_>,
        filter: &EventFilter,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<ListPage<AuditEvent>, StoreError> {
        let scan = Scan::<audit_event::Entity>::new(Column::Id, event_range(access, filter), after);
        let matches = event_condition(access, filter);
        self.scan(async |database| {
            let columns = |events: Select<audit_event::Entity>| events.into_model::<audit_event::Model>();
            scan.page(database, matches, limit, columns, event_from_row, |event| event.id).await
        })
        .await
    }
}

/// The events to examine: those that the indexes of both tables hold in the order of their ids.
fn event_range(access: AccessFilter<'_>, filter: &EventFilter) -> Condition {
    match (filter.key_id, filter.actor_key_id, access) {
        (Some(key), _, _) => Condition::all().add(Column::KeyId.eq(key)),
        (None, Some(actor), _) => Condition::all().add(Column::ActorKeyId.eq(actor)),
        (None, None, AccessFilter::Owner(_) | AccessFilter::Organization { .. }) => EVENT_OWNER.admitted_by(access),
        (None, None, AccessFilter::Issuer(_) | AccessFilter::Any) => Condition::all(),
    }
}

/// The condition for an event to be listed.
fn event_condition(access: AccessFilter<'_>, filter: &EventFilter) -> Condition {
    EVENT_OWNER
        .admitted_by(access)
        .add_option(filter.key_id.map(|id| Column::KeyId.eq(id)))
        .add_option(filter.actor_key_id.map(|id| Column::ActorKeyId.eq(id)))
        .add_option(filter.action.map(|action| Column::Action.eq(action.as_str())))
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
        let revocations = EventFilter { action: Some(Action::Revoked), ..EventFilter::default() };
        let of_organization = AccessFilter::Organization { issuer: "i", organization: "o" };
        for access in [AccessFilter::Owner(&owner), of_organization, AccessFilter::Issuer("i"), AccessFilter::Any] {
            for filter in [&EventFilter::default(), &of_key, &by_key, &revocations] {
                let scan = Scan::<audit_event::Entity>::new(Column::Id, event_range(access, filter), Some(Uuid::nil()));
                let columns = match (filter.key_id, filter.actor_key_id, access) {
                    (Some(_), _, _) | (_, Some(_), _) => "",
                    (_, _, AccessFilter::Owner(_)) => {
                        "(owner_issuer=? AND owner_subject=? AND owner_organization=? AND id<?)"
                    }
                    (_, _, AccessFilter::Organization { .. }) => "(owner_issuer=? AND owner_organization=? AND id<?)",
                    (_, _, AccessFilter::Issuer(_) | AccessFilter::Any) => "(id<?)",
                };
                for query in [scan.matching(event_condition(access, filter), 20), scan.end()] {
                    let plan = store.plan(query.build(DbBackend::Sqlite)).await;
                    let searches: Vec<_> = plan.iter().filter(|step| step.starts_with("SEARCH ")).collect();
                    let [changes, keys] = &searches[..] else { panic!("{plan:?}") };
                    assert!(changes.starts_with("SEARCH key_change_events USING "), "{changes}");
                    assert!(keys.starts_with("SEARCH api_keys USING "), "{keys}");
                    assert!(changes.ends_with(columns) && keys.ends_with(columns), "{changes}, {keys}");
                    let of_a_table = |step: &&String| step.starts_with("SCAN") && !step.ends_with("audit_events");
                    assert_eq!(plan.iter().find(of_a_table), None, "{plan:?}");
                    assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
                }
            }
        }
    }
}
