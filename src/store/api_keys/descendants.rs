//! Descendants: the keys that a key created, those that they created, and so on.
//!
//! A revocation of a tree must not miss a key that is created at the same time. A create by a key locks the row of that
//! key, its creator, and fails if the creator has ended. A revocation locks the tree from the root downward, each level in
//! the order of ids, and looks again until it finds no key that is not revoked. So a concurrent create either commits
//! before its creator is locked and is found by the next look, or waits and finds its creator revoked. As every
//! revocation locks a key before the key's descendants, two of them cannot deadlock.
//!
//! The tree is read with a recursive query, so that its depth costs no round trips.

use std::collections::{BTreeSet, HashMap};

use entity::api_key::{self, Column};
use sea_orm::sea_query::{Expr, ExprTrait, LockType};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement,
};
use uuid::Uuid;

use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey, KeyRecord, Revocation};
use crate::domain::audit::AuditEvent;
use crate::store::api_keys::change::{self, KeyChange};
use crate::store::api_keys::find::find_all;
use crate::store::owner_key_counts::{self, KeysByOwner, is_subtracted};
use crate::store::sql::SqlBuilder;
use crate::store::{Store, StoreError, audit_events, change_feed};

/// Keys per statement. With the columns of their events, within the limit of bound values (32,766 on SQLite).
const MAX_KEYS_PER_STATEMENT: usize = 2000;

/// A changed key, and its descendants that were revoked with it.
pub struct ChangedTree {
    pub root: KeyRecord,
    pub revoked: Vec<KeyRecord>,
}

impl Store {
    /// Changes a key as [`Store::change_key`] does, and revokes its descendants in the same transaction. `event` makes the
    /// audit event of a descendant.
    pub async fn change_tree<E>(
        &self,
        access: AccessFilter<'_>,
        id: Uuid,
        apply: impl FnOnce(Option<KeyRecord>) -> Result<KeyChange, E>,
        revocation: &Revocation,
        event: impl Fn(&ApiKey) -> AuditEvent,
    ) -> Result<Result<ChangedTree, E>, StoreError> {
        self.write(async |transaction| {
            let before = change::lock(transaction, access, id).await?;
            let change = match apply(before.clone()) {
                Ok(change) => change,
                Err(error) => return Ok(Err(error)),
            };
            let root = change::write_change(transaction, before.as_ref(), change).await?;
            let revoked = revoke_descendants(transaction, id, revocation, &event).await?;
            // Counts are locked after keys, as creates do.
            let subtracted = revoked.iter().filter(|record| record.key.deleted_at.is_none());
            let subtracted = subtracted
                .chain(is_subtracted(before.as_ref(), &root.key).then_some(&root))
                .map(|record| &record.key.owner);
            owner_key_counts::subtract(transaction, KeysByOwner::of(subtracted)).await?;
            change_feed::publish(transaction, std::iter::once(&root).chain(&revoked)).await?;
            Ok(Ok(ChangedTree { root, revoked }))
        })
        .await
    }

    /// The descendants of these keys that are not revoked. One that descends from several of them may occur repeatedly.
    pub async fn find_live_descendants(&self, roots: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        self.scan(async |database| {
            find_ids(database, live_descendants(database.get_database_backend(), roots).build()).await
        })
        .await
    }
}

/// Locks keys that create others until the end of the transaction, and returns them.
///
/// A lock that excludes others of its kind: with `FOR SHARE`, a sequence of overlapping creates could keep a revocation
/// waiting until it times out, because PostgreSQL admits a share lock while an exclusive one waits.
pub async fn lock_creators(
    transaction: &DatabaseTransaction,
    creators: BTreeSet<Uuid>,
) -> Result<HashMap<Uuid, KeyRecord>, DbErr> {
    if creators.is_empty() {
        return Ok(HashMap::new());
    }
    let creators =
        api_key::Entity::find().filter(Column::Id.is_in(creators)).order_by_asc(Column::Id).lock(LockType::NoKeyUpdate);
    let creators = find_all(transaction, creators).await?;
    Ok(creators.into_iter().map(|record| (record.key.id, record)).collect())
}

/// The ids of the descendants that are not revoked, and their depths. Continues through revoked and deleted keys. With
/// `CROSS JOIN`, SQLite looks up each descendant; otherwise it reads all keys and looks up each among the descendants.
fn live_descendants(backend: DbBackend, roots: &[Uuid]) -> SqlBuilder {
    SqlBuilder::new(backend)
        .push(
            "WITH RECURSIVE descendants (id, depth, is_live) AS (\
             SELECT id, 1, revoked_at IS NULL FROM api_keys WHERE creation_actor_key_id IN ",
        )
        .push_values(roots.iter().map(|id| (*id).into()))
        .push(
            " UNION ALL \
             SELECT k.id, d.depth + 1, k.revoked_at IS NULL FROM descendants d \
             CROSS JOIN api_keys k WHERE k.creation_actor_key_id = d.id) \
             SELECT k.id FROM descendants d CROSS JOIN api_keys k WHERE k.id = d.id AND d.is_live",
        )
}

/// Locks descendants that are not revoked, as many as fit a statement. One that is revoked while this waits for its lock
/// is returned, too: only an empty result means that there are none.
async fn lock_live_descendants(transaction: &DatabaseTransaction, root: Uuid) -> Result<Vec<Uuid>, DbErr> {
    let backend = transaction.get_database_backend();
    let query =
        live_descendants(backend, &[root]).push(&format!(" ORDER BY d.depth, k.id LIMIT {MAX_KEYS_PER_STATEMENT}"));
    if backend == DbBackend::Sqlite {
        return find_ids(transaction, query.build()).await;
    }
    find_ids(transaction, query.push(" FOR UPDATE OF k").build()).await
}

async fn find_ids<C: ConnectionTrait>(connection: &C, query: Statement) -> Result<Vec<Uuid>, DbErr> {
    connection.query_all_raw(query).await?.iter().map(|row| row.try_get("", "id")).collect()
}

/// Revokes the descendants of a key, which is locked, and returns them. Leaves the counts of the owners' keys and the
/// change feed to the caller, as [`revoke_all`] does.
pub async fn revoke_descendants(
    transaction: &DatabaseTransaction,
    root: Uuid,
    revocation: &Revocation,
    event: impl Fn(&ApiKey) -> AuditEvent,
) -> Result<Vec<KeyRecord>, DbErr> {
    let mut revoked = Vec::new();
    loop {
        let ids = lock_live_descendants(transaction, root).await?;
        if ids.is_empty() {
            return Ok(revoked);
        }
        revoked.extend(revoke_all(transaction, ids, revocation, &event).await?);
    }
}

/// Revokes those of these keys, which are locked, that are not revoked yet. Writes one statement for all keys and one for
/// all events.
pub async fn revoke_all(
    transaction: &DatabaseTransaction,
    ids: Vec<Uuid>,
    revocation: &Revocation,
    event: impl Fn(&ApiKey) -> AuditEvent,
) -> Result<Vec<KeyRecord>, DbErr> {
    let keys = api_key::Entity::find().filter(Column::Id.is_in(ids)).filter(Column::RevokedAt.is_null());
    let mut records = find_all(transaction, keys).await?;
    if records.is_empty() {
        return Ok(records);
    }
    api_key::Entity::update_many()
        .col_expr(Column::RevokedAt, Expr::value(revocation.at))
        .col_expr(Column::RevokedBy, Expr::value(revocation.by.clone()))
        .col_expr(Column::RevokeReason, Expr::value(revocation.reason.clone()))
        .col_expr(Column::UpdatedAt, Expr::value(revocation.at))
        .col_expr(Column::Revision, Expr::col(Column::Revision).add(1))
        .filter(Column::Id.is_in(records.iter().map(|record| record.key.id)))
        .exec(transaction)
        .await?;
    for KeyRecord { key, .. } in &mut records {
        key.revocation = Some(revocation.clone());
        key.updated_at = revocation.at;
        key.revision += 1;
    }
    let events: Vec<_> = records.iter().map(|record| event(&record.key)).collect();
    audit_events::insert_events(transaction, &events).await?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::audit::Action;
    use crate::domain::caller::{Caller, CallingKey, Credential};
    use crate::domain::clock::Clock;
    use crate::domain::issuer_policy::IssuerPolicy;
    use crate::store::InsertOutcome;
    use crate::store::api_keys::insert::tests::{audit_event, key_insert};

    /// A request that was authenticated by the current secret of a key.
    async fn calling_key(store: &Store, id: Uuid) -> CallingKey {
        let KeyRecord { key, secrets } = store.find_key(AccessFilter::Any, id).await.unwrap().unwrap();
        let caller = Caller {
            owner: key.owner.into(),
            scopes: key.scopes.into(),
            credential: Credential::Key { id, secret_id: secrets[0].id, expires_at: None },
            policy: IssuerPolicy::BUILT_IN,
        };
        CallingKey::of(&caller, &Clock::System).unwrap()
    }

    async fn create(store: &Store, hash: u8, creator: Option<Uuid>) -> Uuid {
        let mut insert = key_insert(hash);
        insert.key.created_by_key = creator;
        insert.event.actor.key_id = creator;
        if let Some(creator) = creator {
            insert.calling_key = Some(calling_key(store, creator).await);
        }
        let id = insert.key.id;
        assert_eq!(store.create_key(insert).await.unwrap(), InsertOutcome::Inserted);
        id
    }

    /// Revokes the descendants of a key, which itself stays as it is.
    async fn revoke_descendants(store: &Store, root: Uuid) -> Vec<Uuid> {
        let revocation = Revocation { at: key_insert(0).key.created_at, by: "s".into(), reason: Some("r".into()) };
        let keep = |root: Option<KeyRecord>| Ok::<_, ()>(KeyChange::with_events(root.unwrap(), []));
        let event = |key: &ApiKey| audit_event(Action::Revoked, key, json!({}));
        let tree = store.change_tree(AccessFilter::Any, root, keep, &revocation, event).await.unwrap().unwrap();
        for record in &tree.revoked {
            assert_eq!(store.find_key(AccessFilter::Any, record.key.id).await.unwrap().as_ref(), Some(record));
        }
        tree.revoked.into_iter().map(|record| record.key.id).collect()
    }

    #[tokio::test]
    async fn tree_is_revoked_through_keys_that_are_revoked() {
        let (store, _directory) = Store::temporary().await;
        let root = create(&store, 1, None).await;
        let child = create(&store, 2, Some(root)).await;
        let grandchild = create(&store, 3, Some(child)).await;
        let other = create(&store, 4, None).await;
        let sibling = create(&store, 5, Some(root)).await;
        create(&store, 6, Some(other)).await;

        let mut found = store.find_live_descendants(&[root]).await.unwrap();
        found.sort_unstable();
        assert_eq!(found, [child, grandchild, sibling]);
        assert_eq!(revoke_descendants(&store, child).await, [grandchild]);
        let mut revoked = revoke_descendants(&store, root).await;
        revoked.sort_unstable();
        assert_eq!(revoked, [child, sibling]);
        assert_eq!(revoke_descendants(&store, root).await, [] as [Uuid; 0]);
        let mut insert = key_insert(7);
        insert.key.created_by_key = Some(child);
        insert.calling_key = Some(calling_key(&store, child).await);
        assert_eq!(store.create_key(insert).await.unwrap(), InsertOutcome::CreatorEnded);
    }

    #[tokio::test]
    async fn descendants_are_found_with_index_searches() {
        let (store, _directory) = Store::temporary().await;
        let plan = store.plan(live_descendants(DbBackend::Sqlite, &[Uuid::nil()]).build()).await;
        let searches =
            plan.iter().filter(|step| step.contains("INDEX api_keys_by_creating_key (creation_actor_key_id=?)"));
        assert_eq!(searches.count(), 2, "{plan:?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN api_keys") || step.starts_with("SCAN k")), "{plan:?}");
    }
}
