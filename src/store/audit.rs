//! Audit events: added with the change that they tell of, and read by page.

use entity::audit_event::{self, Column};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use uuid::Uuid;

use super::keys::Reach;
use super::{Store, StoreError};
use crate::domain::audit::{Action, Actor, AuditEvent};
use crate::domain::caller::Owner;

#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub key_id: Option<Uuid>,
    pub action: Option<Action>,
}

impl Store {
    /// At most `limit` events older than `after`, newest first. An owner sees those of deleted keys too.
    pub async fn list_events(
        &self,
        reach: Reach<'_>,
        filter: &EventFilter,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<AuditEvent>, StoreError> {
        let own = match reach {
            Reach::All => Condition::all(),
            Reach::Own(owner) => {
                Condition::all().add(Column::OwnerIssuer.eq(&owner.issuer)).add(Column::OwnerSubject.eq(&owner.subject))
            }
        };
        let events = audit_event::Entity::find()
            .filter(
                own.add_option(filter.key_id.map(|id| Column::KeyId.eq(id)))
                    .add_option(filter.action.map(|action| Column::Action.eq(action.as_str())))
                    .add_option(after.map(|after| Column::Id.lt(after))),
            )
            .order_by_desc(Column::Id)
            .limit(limit);
        self.read(async |database| events.all(database).await?.into_iter().map(read_event).collect()).await
    }
}

pub async fn record(transaction: &DatabaseTransaction, events: &[&AuditEvent]) -> Result<(), DbErr> {
    let rows: Vec<_> = events.iter().map(|event| event_row(event)).collect();
    audit_event::Entity::insert_many(rows).exec_without_returning(transaction).await.map(drop)
}

pub fn event_row(event: &AuditEvent) -> audit_event::ActiveModel {
    audit_event::ActiveModel {
        id: Set(event.id),
        at: Set(event.at),
        action: Set(event.action.clone()),
        actor_kind: Set(event.actor.kind.clone()),
        actor_issuer: Set(event.actor.issuer.clone()),
        actor_subject: Set(event.actor.subject.clone()),
        actor_key_id: Set(event.actor.key_id),
        key_id: Set(event.key_id),
        owner_issuer: Set(event.owner.issuer.clone()),
        owner_subject: Set(event.owner.subject.clone()),
        organization: Set(event.owner.organization.clone()),
        request_id: Set(event.request_id.clone()),
        client_address: Set(event.client_address.clone()),
        user_agent: Set(event.user_agent.clone()),
        changes: Set(event.changes.to_string()),
    }
}

fn read_event(row: audit_event::Model) -> Result<AuditEvent, DbErr> {
    let changes = serde_json::from_str(&row.changes)
        .map_err(|error| DbErr::Custom(format!("audit event {} cannot be read: {error}", row.id)))?;
    Ok(AuditEvent {
        id: row.id,
        at: row.at,
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
        owner: Owner { issuer: row.owner_issuer, subject: row.owner_subject, organization: row.organization },
        changes,
    })
}
