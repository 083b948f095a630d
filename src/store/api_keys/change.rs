//! Change: reads an existing key, applies a function to it and writes the result, in one transaction.

use chrono::{DateTime, Utc};
use entity::{api_key, rotated_secret};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QuerySelect};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::KeyRecord;
use crate::domain::audit::AuditEvent;
use crate::store::api_keys::find::find_record;
use crate::store::api_keys::rows;
use crate::store::idempotency::{self, SavedResponse};
use crate::store::owner_key_counts::{self, KeysByOwner, is_subtracted};
use crate::store::{Store, StoreError, audit_events, change_feed};

/// A changed key with the audit events of the change. The fields are private, so that no change is written without one.
pub struct KeyChange {
    record: KeyRecord,
    /// Empty if the key stays as it is.
    events: Vec<AuditEvent>,
}

impl KeyChange {
    pub fn new(record: KeyRecord, event: AuditEvent) -> Self {
        Self { record, events: vec![event] }
    }

    /// Returns a change with any number of events. Without one, nothing of `record` is written: that is for an
    /// operation that finds nothing to change.
    pub fn with_events(record: KeyRecord, events: impl IntoIterator<Item = AuditEvent>) -> Self {
        Self { record, events: events.into_iter().collect() }
    }

    /// For tests of the functions that make changes.
    #[cfg(test)]
    pub fn into_parts(self) -> (KeyRecord, Vec<AuditEvent>) {
        (self.record, self.events)
    }
}

/// What a change decides on.
pub struct LockedKey {
    /// The key to change, locked until the end of the transaction. `None` if there is none that the caller can see.
    pub record: Option<KeyRecord>,
    /// The key that authenticated the caller, as it is now.
    pub calling_key: Option<KeyRecord>,
}

/// The outcome of a change that is made once for an `Idempotency-Key`.
#[expect(clippy::large_enum_variant, reason = "the large variant is the common one")]
pub enum ChangeOutcome<T, E> {
    Applied {
        record: KeyRecord,
        value: T,
    },
    /// An earlier request with the same `Idempotency-Key` has made the change.
    Replayed(SavedResponse),
    /// `apply` returned this error.
    Rejected(E),
}

impl Store {
    /// Locks a key, passes it and the calling key to `apply`, and writes the change that `apply` returns. An error of
    /// `apply` is the inner error; nothing is then written. Returns the changed key and the value that `apply` returned with it.
    pub async fn change_key<T, E>(
        &self,
        access: AccessFilter<'_>,
        id: Uuid,
        calling_key: Option<Uuid>,
        apply: impl FnOnce(LockedKey) -> Result<(KeyChange, T), E>,
    ) -> Result<Result<(KeyRecord, T), E>, StoreError> {
        self.write(async |transaction| {
            let before = lock(transaction, access, id).await?;
            let calling_key = find_calling_key(transaction, calling_key).await?;
            let (change, value) = match apply(LockedKey { record: before.clone(), calling_key }) {
                Ok(applied) => applied,
                Err(error) => return Ok(Err(error)),
            };
            Ok(Ok((write_and_publish(transaction, before.as_ref(), change).await?, value)))
        })
        .await
    }

    /// Changes a key as [`Store::change_key`] does, once for a request with an `Idempotency-Key`. `response_ids` are the
    /// ids of the saved response; `apply` returns the response to save.
    pub async fn change_key_once<T, E>(
        &self,
        access: AccessFilter<'_>,
        id: Uuid,
        calling_key: Option<Uuid>,
        response_ids: &[Vec<u8>],
        now: DateTime<Utc>,
        apply: impl FnOnce(LockedKey) -> Result<(KeyChange, T, Vec<SavedResponse>), E>,
    ) -> Result<ChangeOutcome<T, E>, StoreError> {
        self.write(async |transaction| {
            // Locks the key before it looks for the response, so that a concurrent request finds the first one's.
            let before = lock(transaction, access, id).await?;
            if let Some(response) = idempotency::find_response(transaction, response_ids, now).await? {
                return Ok(ChangeOutcome::Replayed(response));
            }
            let calling_key = find_calling_key(transaction, calling_key).await?;
            let (change, value, responses) = match apply(LockedKey { record: before.clone(), calling_key }) {
                Ok(applied) => applied,
                Err(error) => return Ok(ChangeOutcome::Rejected(error)),
            };
            let record = write_and_publish(transaction, before.as_ref(), change).await?;
            idempotency::save_responses(transaction, vec![responses], now).await?;
            Ok(ChangeOutcome::Applied { record, value })
        })
        .await
    }
}

pub async fn lock(
    transaction: &DatabaseTransaction,
    access: AccessFilter<'_>,
    id: Uuid,
) -> Result<Option<KeyRecord>, DbErr> {
    find_record(transaction, access.api_keys_query().filter(api_key::Column::Id.eq(id)).lock_exclusive()).await
}

/// Reads the calling key after the other is locked, so that a change that committed while this one waited is seen.
async fn find_calling_key(transaction: &DatabaseTransaction, id: Option<Uuid>) -> Result<Option<KeyRecord>, DbErr> {
    let Some(id) = id else { return Ok(None) };
    find_record(transaction, AccessFilter::Any.api_keys_query().filter(api_key::Column::Id.eq(id))).await
}

async fn write_and_publish(
    transaction: &DatabaseTransaction,
    before: Option<&KeyRecord>,
    change: KeyChange,
) -> Result<KeyRecord, DbErr> {
    if change.events.is_empty() {
        return Ok(change.record);
    }
    let record = write_change(transaction, before, change).await?;
    change_feed::publish(transaction, [&record]).await?;
    if is_subtracted(before, &record.key) {
        owner_key_counts::subtract(transaction, KeysByOwner::of([&record.key.owner])).await?;
    }
    Ok(record)
}

/// Writes the key, the rotated secrets that are new or changed, and the audit events; nothing if there is no event. Leaves
/// the count of the owner's keys and the change feed to the caller.
pub async fn write_change(
    transaction: &DatabaseTransaction,
    before: Option<&KeyRecord>,
    KeyChange { record, events }: KeyChange,
) -> Result<KeyRecord, DbErr> {
    if events.is_empty() {
        return Ok(record);
    }
    let (current, rotated) =
        record.secrets.split_first().ok_or_else(|| DbErr::Custom("a key without a secret".into()))?;
    api_key::Entity::update(rows::changed_key_row(&record.key, current)).exec_without_returning(transaction).await?;
    for secret in rotated {
        if !before.into_iter().flat_map(|before| &before.secrets).any(|stored| stored == secret) {
            let update_expiry = OnConflict::column(rotated_secret::Column::Hash)
                .update_column(rotated_secret::Column::ExpiresAt)
                .to_owned();
            let row = rows::rotated_secret_row(record.key.id, secret)?;
            rotated_secret::Entity::insert(row).on_conflict(update_expiry).exec_without_returning(transaction).await?;
        }
    }
    audit_events::insert_events(transaction, &events).await?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::api_key::SecretRecord;
    use crate::domain::audit::Action;
    use crate::store::EventFilter;
    use crate::store::api_keys::insert::tests::{audit_event, key_insert};

    #[tokio::test]
    async fn rotated_secret_stays_current_when_the_replicas_clock_is_behind() {
        let (store, _directory) = Store::temporary().await;
        let second = key_insert(2).secret;
        let insert = key_insert(1);
        let (id, first, now) = (insert.key.id, insert.secret.clone(), insert.key.created_at);
        assert!(second.id < first.id);
        store.create_key(insert).await.unwrap();
        let change = async |alter: &dyn Fn(&mut KeyRecord)| {
            let apply = |locked: LockedKey| {
                let mut record = locked.record.unwrap();
                alter(&mut record);
                let event = audit_event(Action::Updated, &record.key, json!({}));
                Ok::<_, ()>((KeyChange::new(record, event), ()))
            };
            assert!(store.change_key(AccessFilter::Any, id, None, apply).await.unwrap().is_ok());
        };

        change(&|record| {
            record.secrets[0].expires_at = Some(now);
            record.secrets.insert(0, second.clone());
        })
        .await;
        change(&|record| record.key.enabled = false).await;

        let record = store.find_key(AccessFilter::Any, id).await.unwrap().unwrap();
        assert_eq!(record.secrets, [second, SecretRecord { expires_at: Some(now), ..first }]);
    }

    #[tokio::test]
    async fn change_without_an_event_writes_nothing() {
        let (store, _directory) = Store::temporary().await;
        let insert = key_insert(1);
        let id = insert.key.id;
        store.create_key(insert).await.unwrap();
        let before = store.find_key(AccessFilter::Any, id).await.unwrap();

        let disable = |mut record: KeyRecord| {
            record.key.enabled = false;
            KeyChange::with_events(record, [])
        };
        let apply = |locked: LockedKey| Ok::<_, ()>((disable(locked.record.unwrap()), ()));
        assert!(store.change_key(AccessFilter::Any, id, None, apply).await.unwrap().is_ok());

        assert_eq!(store.find_key(AccessFilter::Any, id).await.unwrap(), before);
        let events = store.list_events(AccessFilter::Any, &EventFilter::default(), None, 10).await.unwrap().items;
        assert_eq!(events.len(), 1, "only the creation");
    }
}
