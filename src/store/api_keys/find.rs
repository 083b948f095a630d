//! Find: keys with their secrets.

use std::collections::HashMap;

use entity::{api_key, secret};
use sea_orm::sea_query::NullOrdering;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, Order, QueryFilter, QueryOrder, Select};
use uuid::Uuid;

use super::rows::{self, KeyRow};
use crate::domain::access::AccessFilter;
use crate::domain::api_key::{KeyRecord, SecretRecord};
use crate::store::{Store, StoreError};

impl Store {
    pub async fn find_key(&self, access: AccessFilter<'_>, id: Uuid) -> Result<Option<KeyRecord>, StoreError> {
        self.read(async |database| find(database, access.api_keys_query().filter(api_key::Column::Id.eq(id))).await)
            .await
    }
}

pub async fn find<C: ConnectionTrait>(
    connection: &C,
    keys: Select<api_key::Entity>,
) -> Result<Option<KeyRecord>, DbErr> {
    Ok(find_all(connection, keys).await?.pop())
}

pub async fn find_all<C: ConnectionTrait>(
    connection: &C,
    keys: Select<api_key::Entity>,
) -> Result<Vec<KeyRecord>, DbErr> {
    let rows = keys.into_partial_model::<KeyRow>().all(connection).await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut secrets: HashMap<Uuid, Vec<SecretRecord>> = HashMap::new();
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

#[cfg(test)]
mod tests {
    use sea_orm::{DbBackend, QueryTrait};

    use super::*;

    #[tokio::test]
    async fn a_keys_secrets_are_two_seeks_however_many_there_are_of_others() {
        let (store, _directory) = Store::temporary().await;
        let plan = store.plan(secrets_of([Uuid::nil()]).build(DbBackend::Sqlite)).await;
        let seeks = [
            "SEARCH k USING INDEX sqlite_autoindex_api_keys_1 (id=?)",
            "SEARCH r USING INDEX rotated_secrets_by_key (key_id=?)",
        ];
        assert!(seeks.iter().all(|seek| plan.iter().any(|step| step == seek)), "{plan:?}");
    }
}
