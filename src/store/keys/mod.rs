//! Keys and their secrets: looked up, made and changed.

mod create;
mod list;
mod look_up;
mod rows;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
pub use create::Created;
use entity::{api_key, secret};
pub use list::KeyFilter;
pub use look_up::Found;
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
};
use uuid::Uuid;

use super::idempotency::{self, Remembered};
use super::{Store, StoreError, audit, changes};
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

/// A key as it is to be, and what is to be told of how it came so.
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
            changes::tell(transaction, [&record]).await?;
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
            changes::tell(transaction, &changed).await?;
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
            changes::tell(transaction, &before).await?;
            let row = secret::ActiveModel {
                hash: Set(hash.0.to_vec()),
                pepper_id: Set(pepper_id.to_owned()),
                ..Default::default()
            };
            let this = Condition::all().add(secret::Column::KeyId.eq(key)).add(secret::Column::Id.eq(id));
            secret::Entity::update_many().set(row).filter(this).exec(transaction).await.map(drop)
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
    let rows = keys.all(connection).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut secrets: HashMap<Uuid, Vec<StoredSecret>> = HashMap::new();
    let of_these = secret::Column::KeyId.is_in(rows.iter().map(|row| row.id));
    for row in secret::Entity::find().filter(of_these).order_by_desc(secret::Column::Id).all(connection).await? {
        secrets.entry(row.key_id).or_default().push(rows::read_secret(row)?);
    }
    let record = |row: api_key::Model| {
        Ok(KeyRecord { secrets: secrets.remove(&row.id).unwrap_or_default(), key: rows::read_key(row)? })
    };
    rows.into_iter().map(record).collect()
}

/// Writes what a change made of a key that was there before.
async fn write(
    transaction: &DatabaseTransaction,
    before: Option<&KeyRecord>,
    change: Change,
) -> Result<KeyRecord, DbErr> {
    let Change { record, events, remember } = change;
    api_key::Entity::update(rows::key_row(&record.key)).exec(transaction).await?;
    for secret in &record.secrets {
        match before.into_iter().flat_map(|before| &before.secrets).find(|known| known.id == secret.id) {
            Some(known) if known == secret => {}
            Some(_) => update_secret(transaction, secret).await?,
            None => {
                let row = rows::secret_row(record.key.id, secret);
                secret::Entity::insert(row).exec_without_returning(transaction).await?;
            }
        }
    }
    audit::record(transaction, &Vec::from_iter(&events)).await?;
    if let Some(new) = remember {
        idempotency::remember(transaction, new).await?;
    }
    Ok(record)
}

async fn update_secret(transaction: &DatabaseTransaction, secret: &StoredSecret) -> Result<(), DbErr> {
    let row = secret::ActiveModel {
        hash: Set(secret.hash.0.to_vec()),
        expires_at: Set(secret.expires_at),
        ..Default::default()
    };
    secret::Entity::update(row).exec(transaction).await?;
    Ok(())
}
