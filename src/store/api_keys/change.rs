//! Change: an existing key, read and written in one transaction.

use chrono::{DateTime, Utc};
use entity::{api_key, rotated_secret};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::find::{find, find_all};
use super::rows;
use crate::domain::access::AccessFilter;
use crate::domain::api_key::KeyRecord;
use crate::domain::audit::AuditEvent;
use crate::store::idempotency::{self, Remembered};
use crate::store::{Store, StoreError, audit_events, change_feed};

/// A key as it is to become, and what is to be told of how it came so.
pub struct Change {
    pub record: KeyRecord,
    pub events: Vec<AuditEvent>,
    /// The answer, for when the same request comes again.
    pub remember: Option<Remembered>,
}

/// Why nothing was changed.
pub enum Unchanged<E> {
    AnsweredBefore(Remembered),
    Decided(E),
}

impl Store {
    /// Reads a key, lets `decide` say what becomes of it, and writes that, in one transaction which no other change of
    /// the same key can come between. `request` is the name under which the answer is remembered, if it is.
    pub async fn change_key<E>(
        &self,
        access: AccessFilter<'_>,
        id: Uuid,
        request: Option<&[u8]>,
        now: DateTime<Utc>,
        decide: impl FnOnce(Option<KeyRecord>) -> Result<Change, E>,
    ) -> Result<Result<KeyRecord, Unchanged<E>>, StoreError> {
        self.write(async |transaction| {
            // The key is locked before the name is looked up, so that a second request with it finds the first one's.
            let before =
                find(transaction, access.api_keys_query().filter(api_key::Column::Id.eq(id)).lock_exclusive()).await?;
            if let Some(request) = request
                && let Some(earlier) = idempotency::recall(transaction, request, now).await?
            {
                return Ok(Err(Unchanged::AnsweredBefore(earlier)));
            }
            let change = match decide(before.clone()) {
                Ok(change) => change,
                Err(refusal) => return Ok(Err(Unchanged::Decided(refusal))),
            };
            let record = write(transaction, before.as_ref(), change).await?;
            change_feed::tell(transaction, [&record]).await?;
            Ok(Ok(record))
        })
        .await
    }

    /// The same for many keys in one transaction, those among them that are there.
    pub async fn change_keys(
        &self,
        ids: &[Uuid],
        decide: impl Fn(KeyRecord) -> Change,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        self.write(async |transaction| {
            let mut changed = Vec::new();
            let keys = AccessFilter::Any.api_keys_query().filter(api_key::Column::Id.is_in(ids.iter().copied()));
            // In one order, so that of two at once neither waits for a key that the other waits with.
            for before in find_all(transaction, keys.order_by_desc(api_key::Column::Id).lock_exclusive()).await? {
                changed.push(write(transaction, Some(&before), decide(before.clone())).await?);
            }
            change_feed::tell(transaction, &changed).await?;
            Ok(changed)
        })
        .await
    }
}

/// Writes what a change made of a key that was there before.
async fn write(
    transaction: &DatabaseTransaction,
    before: Option<&KeyRecord>,
    change: Change,
) -> Result<KeyRecord, DbErr> {
    let Change { record, events, remember } = change;
    let (newest, former) =
        record.secrets.split_first().ok_or_else(|| DbErr::Custom("a key without a secret".into()))?;
    api_key::Entity::update(rows::key_row(&record.key, newest)).exec_without_returning(transaction).await?;
    for secret in former {
        if !before.into_iter().flat_map(|before| &before.secrets).any(|known| known == secret) {
            let renew = OnConflict::column(rotated_secret::Column::Hash)
                .update_column(rotated_secret::Column::ExpiresAt)
                .to_owned();
            let row = rows::rotated_secret_row(record.key.id, secret)?;
            rotated_secret::Entity::insert(row).on_conflict(renew).exec_without_returning(transaction).await?;
        }
    }
    audit_events::record(transaction, &events).await?;
    if let Some(new) = remember {
        idempotency::remember(transaction, new).await?;
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::api_key::SecretRecord;
    use crate::store::api_keys::insert;

    #[tokio::test]
    async fn a_secret_made_by_a_replica_whose_clock_is_behind_stays_the_newest() {
        let (store, _directory) = Store::temporary().await;
        let second = insert::tests::created(2, None).secret;
        let made = insert::tests::created(1, None);
        let (id, first, now) = (made.key.id, made.secret.clone(), made.key.created_at);
        assert!(second.id < first.id);
        store.create_key(made).await.unwrap();
        let change = async |alter: &dyn Fn(&mut KeyRecord)| {
            let decide = |record: Option<KeyRecord>| {
                let mut record = record.unwrap();
                alter(&mut record);
                Ok::<_, ()>(Change { record, events: Vec::new(), remember: None })
            };
            assert!(store.change_key(AccessFilter::Any, id, None, now, decide).await.unwrap().is_ok());
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
}
