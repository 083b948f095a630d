//! Find: a key with its secrets, by id.

use std::collections::HashMap;

use entity::{api_key, secret};
use sea_orm::sea_query::NullOrdering;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, Order, QueryFilter, QueryOrder, Select};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{KeyRecord, SecretRecord};
use crate::store::api_keys::rows::{self, KeyRow};
use crate::store::{Store, StoreError};

impl Store {
    pub async fn find_key(&self, access: AccessFilter<'_>, id: Uuid) -> Result<Option<KeyRecord>, StoreError> {
        self.read(async |database| {
            find_record(database, access.api_keys_query().filter(api_key::Column::Id.eq(id))).await
        })
        .await
    }
}

pub async fn find_record<C: ConnectionTrait>(
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
    for row in secrets_query(rows.iter().map(|row| row.id)).all(connection).await? {
        secrets.entry(row.key_id).or_default().push(rows::secret_from_row(row)?);
    }
    let record = |row: KeyRow| {
        Ok(KeyRecord { secrets: secrets.remove(&row.id).unwrap_or_default(), key: rows::key_from_row(row)? })
    };
    rows.into_iter().map(record).collect()
}

/// Selects the secrets of keys, for each key the current one first: it is the only one without an expiry of its own. The
/// id alone would be the wrong order, because it begins with the time of the replica that made it. If a rotation ran on
/// a replica whose clock is behind, the rotated secret would come first, and the next change would write it as current.
fn secrets_query(keys: impl IntoIterator<Item = Uuid>) -> Select<secret::Entity> {
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
    async fn secrets_of_a_key_are_read_with_two_index_searches() {
        let (store, _directory) = Store::temporary().await;
        let plan = store.plan(secrets_query([Uuid::nil()]).build(DbBackend::Sqlite)).await;
        let searches = [
            "SEARCH k USING INDEX sqlite_autoindex_api_keys_1 (id=?)",
            "SEARCH r USING INDEX rotated_secrets_by_key (key_id=?)",
        ];
        assert!(searches.iter().all(|search| plan.iter().any(|step| step == search)), "{plan:?}");
    }
}
