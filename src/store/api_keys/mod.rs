//! Keys and their secrets: looked up, made and changed.

mod insert;
mod list;
mod lookup;
mod rows;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::{api_key, former_secret, secret};
pub use insert::{Created, Creation};
pub use list::KeyFilter;
pub use lookup::Found;
use rows::KeyRow;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{NullOrdering, OnConflict};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, Order, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
use uuid::Uuid;

use super::idempotency::{self, Remembered};
use super::{Store, StoreError, audit_events, change_feed};
use crate::domain::audit::AuditEvent;
use crate::domain::caller::Owner;
use crate::domain::key::{KeyRecord, StoredSecret};
use crate::domain::secret::SecretHash;

/// Whose keys an operation may touch. Every query on keys starts here, so that the filter cannot be forgotten.
#[derive(Debug, Clone, Copy)]
pub enum Reach<'a> {
    /// One owner's, without the deleted ones.
    Own(&'a Owner),
    /// Everybody's, for an administrator.
    All,
}

impl Reach<'_> {
    fn keys(self) -> Select<api_key::Entity> {
        let keys = api_key::Entity::find();
        match self {
            Self::All => keys,
            Self::Own(owner) => keys
                .filter(api_key::Column::OwnerIssuer.eq(&owner.issuer))
                .filter(api_key::Column::OwnerSubject.eq(&owner.subject))
                .filter(api_key::Column::DeletedAt.is_null()),
        }
    }
}

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
        reach: Reach<'_>,
        id: Uuid,
        request: Option<&[u8]>,
        now: DateTime<Utc>,
        decide: impl FnOnce(Option<KeyRecord>) -> Result<Change, E>,
    ) -> Result<Result<KeyRecord, Unchanged<E>>, StoreError> {
        self.write(async |transaction| {
            // The key is locked before the name is looked up, so that a second request with it finds the first one's.
            let before = find(transaction, reach.keys().filter(api_key::Column::Id.eq(id)).lock_exclusive()).await?;
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
            let keys = Reach::All.keys().filter(api_key::Column::Id.is_in(ids.iter().copied()));
            // In one order, so that of two at once neither waits for a key that the other waits with.
            for before in find_all(transaction, keys.order_by_desc(api_key::Column::Id).lock_exclusive()).await? {
                changed.push(write(transaction, Some(&before), decide(before.clone())).await?);
            }
            change_feed::tell(transaction, &changed).await?;
            Ok(changed)
        })
        .await
    }

    /// A secret of this key that was hashed with an old pepper, hashed with the newest. Not beside a change of the key,
    /// which tells of its secrets by the hashes that it has read.
    pub async fn rehash_secret(
        &self,
        key: Uuid,
        id: Uuid,
        hash: SecretHash,
        pepper_id: &str,
    ) -> Result<(), StoreError> {
        self.write(async |transaction| {
            let before =
                find(transaction, Reach::All.keys().filter(api_key::Column::Id.eq(key)).lock_exclusive()).await?;
            // To a replica that goes by the old pepper the key is known by the old hash, and changes by the new.
            change_feed::tell(transaction, &before).await?;
            let row = api_key::ActiveModel {
                secret_hash: Set(hash.0.to_vec()),
                pepper_id: Set(pepper_id.to_owned()),
                ..Default::default()
            };
            let newest = Condition::all().add(api_key::Column::Id.eq(key)).add(api_key::Column::SecretId.eq(id));
            api_key::Entity::update_many().set(row).filter(newest).exec(transaction).await?;
            let row = former_secret::ActiveModel {
                hash: Set(hash.0.to_vec()),
                pepper_id: Set(pepper_id.to_owned()),
                ..Default::default()
            };
            let former =
                Condition::all().add(former_secret::Column::KeyId.eq(key)).add(former_secret::Column::Id.eq(id));
            former_secret::Entity::update_many().set(row).filter(former).exec(transaction).await.map(drop)
        })
        .await
    }

    pub async fn find_key(&self, reach: Reach<'_>, id: Uuid) -> Result<Option<KeyRecord>, StoreError> {
        self.read(async |database| find(database, reach.keys().filter(api_key::Column::Id.eq(id))).await).await
    }
}

async fn find<C: ConnectionTrait>(connection: &C, keys: Select<api_key::Entity>) -> Result<Option<KeyRecord>, DbErr> {
    Ok(find_all(connection, keys).await?.pop())
}

async fn find_all<C: ConnectionTrait>(connection: &C, keys: Select<api_key::Entity>) -> Result<Vec<KeyRecord>, DbErr> {
    let rows = keys.into_partial_model::<KeyRow>().all(connection).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut secrets: HashMap<Uuid, Vec<StoredSecret>> = HashMap::new();
    for row in secrets_of(rows.iter().map(|row| row.id)).all(connection).await? {
        secrets.entry(row.key_id).or_default().push(rows::read_secret(row)?);
    }
    let record =
        |row: KeyRow| Ok(KeyRecord { secrets: secrets.remove(&row.id).unwrap_or_default(), key: rows::read_key(row)? });
    rows.into_iter().map(record).collect()
}

/// Newest first: the one in the key's row, which alone has no end of its own. By their ids the order would be that of the
/// replicas' clocks, and a secret that was replaced could come before the one that replaced it, and back into force.
fn secrets_of(keys: impl IntoIterator<Item = Uuid>) -> Select<secret::Entity> {
    secret::Entity::find()
        .filter(secret::Column::KeyId.is_in(keys))
        .order_by_with_nulls(secret::Column::ExpiresAt, Order::Desc, NullOrdering::First)
        .order_by_desc(secret::Column::Id)
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
            let renew = OnConflict::column(former_secret::Column::Hash)
                .update_column(former_secret::Column::ExpiresAt)
                .to_owned();
            let row = rows::former_secret_row(record.key.id, secret)?;
            former_secret::Entity::insert(row).on_conflict(renew).exec_without_returning(transaction).await?;
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
    use sea_orm::{DbBackend, QueryTrait};

    use super::*;

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
            assert!(store.change_key(Reach::All, id, None, now, decide).await.unwrap().is_ok());
        };

        change(&|record| {
            record.secrets[0].expires_at = Some(now);
            record.secrets.insert(0, second.clone());
        })
        .await;
        change(&|record| record.key.enabled = false).await;

        let record = store.find_key(Reach::All, id).await.unwrap().unwrap();
        assert_eq!(record.secrets, [second, StoredSecret { expires_at: Some(now), ..first }]);
    }

    #[tokio::test]
    async fn a_keys_secrets_are_two_seeks_however_many_there_are_of_others() {
        let (store, _directory) = Store::temporary().await;
        let plan = store.plan(secrets_of([Uuid::nil()]).build(DbBackend::Sqlite)).await;
        let seeks = [
            "SEARCH k USING INDEX sqlite_autoindex_api_keys_1 (id=?)",
            "SEARCH f USING INDEX former_secrets_by_key (key_id=?)",
        ];
        assert!(seeks.iter().all(|seek| plan.iter().any(|step| step == seek)), "{plan:?}");
    }
}
