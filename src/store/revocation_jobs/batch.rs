//! Batch: continues a job by a bounded number of keys, in one transaction.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use entity::api_key;
use entity::revocation_job::{Column, Entity};
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter, QuerySelect,
};
use uuid::Uuid;

use crate::domain::api_key::{ApiKey, KeyRecord};
use crate::domain::revocation_job::{JobStatus, RevocationJob};
use crate::store::api_keys::{revoke_all, revoke_descendants};
use crate::store::owner_key_counts::{self, KeysByOwner};
use crate::store::revocation_jobs::examine::{ExaminedKey, examine};
use crate::store::revocation_jobs::{rows, write_progress};
use crate::store::{Store, StoreError, audit_events, change_feed};

/// How many keys a batch may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    pub examined: u64,
    pub revoked: usize,
}

/// What a batch has done.
pub struct JobBatch {
    /// The job after the batch.
    pub job: RevocationJob,
    /// True if it was the first batch of the job.
    pub first: bool,
    pub examined: u64,
    pub revoked: Vec<KeyRecord>,
}

impl Store {
    /// Continues a job by one batch. `None` if it is finished, or if another process is continuing it.
    pub async fn continue_revocation_job(
        &self,
        id: Uuid,
        limits: BatchLimits,
        at: DateTime<Utc>,
    ) -> Result<Option<JobBatch>, StoreError> {
        self.write(async |transaction| {
            let job = Entity::find().filter(Column::Id.eq(id)).filter(Column::CompletedAt.is_null());
            let job = job.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
            match job.one(transaction).await? {
                Some(row) => Ok(Some(run_batch(transaction, rows::job(row)?, limits, at).await?)),
                None => Ok(None),
            }
        })
        .await
    }
}

async fn run_batch(
    transaction: &DatabaseTransaction,
    mut job: RevocationJob,
    limits: BatchLimits,
    at: DateTime<Utc>,
) -> Result<JobBatch, DbErr> {
    let first = job.status == JobStatus::Queued;
    let (below, limit) = (job.unexamined_below, limits.examined);
    let mut page = examine(transaction, job.reach(), &job.filter, job.descendants, below, limit).await?;
    let found = page.len();
    let keys = choose(&mut page, job.descendants, limits.revoked);
    let (revoked, descendants) = match keys {
        Chosen::Tree(root) => revoke_tree(transaction, &job, root, at).await?,
        Chosen::Keys(ids) => {
            let ids = lock_unlocked(transaction, ids, &mut page).await?;
            (revoke_keys(transaction, &job, ids, &mut page, at).await?, 0)
        }
    };
    // Counts are locked after keys, as creates do.
    let subtracted = revoked.iter().filter(|record| record.key.deleted_at.is_none()).map(|record| &record.key.owner);
    owner_key_counts::subtract(transaction, KeysByOwner::of(subtracted)).await?;
    change_feed::publish(transaction, &revoked).await?;
    job.status = JobStatus::Running;
    job.updated_at = at;
    job.examined += page.iter().filter(|key| key.is_reached).count() as u64;
    job.revoked += revoked.len() as u64;
    job.revoked_descendants += descendants;
    if let Some(last) = page.last() {
        job.unexamined_below = last.id;
    }
    if (found as u64) < limits.examined && page.len() == found {
        job.end(JobStatus::Completed, at);
        audit_events::insert_events(transaction, &[job.ended_event(None)]).await?;
    }
    write_progress(transaction, &job).await?;
    Ok(JobBatch { job, first, examined: page.len() as u64, revoked })
}

/// What a batch revokes.
enum Chosen {
    /// A key with its descendants.
    Tree(Uuid),
    /// Keys that are revoked alone.
    Keys(Vec<Uuid>),
}

/// Chooses what to revoke of a page, and shortens the page to the keys that are then done with. A key with descendants has
/// a batch of its own, because a revocation of a tree locks a key before its descendants, and those are examined first.
fn choose(page: &mut Vec<ExaminedKey>, with_descendants: bool, limit: usize) -> Chosen {
    let is_root = |key: &ExaminedKey| with_descendants && key.matches && key.has_children;
    match page.iter().position(is_root) {
        Some(0) => {
            page.truncate(1);
            return Chosen::Tree(page[0].id);
        }
        Some(root) => page.truncate(root),
        None => {}
    }
    let is_chosen = |key: &ExaminedKey| key.matches && key.is_live;
    if let Some((beyond, _)) = page.iter().enumerate().filter(|(_, key)| is_chosen(key)).nth(limit) {
        page.truncate(beyond);
    }
    Chosen::Keys(page.iter().filter(|key| is_chosen(key)).map(|key| key.id).collect())
}

/// Locks keys without waiting for any: a job that waits while it holds locks could be part of a deadlock. Shortens the page
/// to the keys before the first that another transaction has locked, which a later batch then examines.
async fn lock_unlocked(
    transaction: &DatabaseTransaction,
    mut ids: Vec<Uuid>,
    page: &mut Vec<ExaminedKey>,
) -> Result<Vec<Uuid>, DbErr> {
    if transaction.get_database_backend() == DbBackend::Sqlite || ids.is_empty() {
        return Ok(ids);
    }
    let locked = api_key::Entity::find().select_only().column(api_key::Column::Id);
    let locked = locked.filter(api_key::Column::Id.is_in(ids.iter().copied()));
    let locked = locked.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
    let locked: HashSet<Uuid> = locked.into_tuple().all(transaction).await?.into_iter().collect();
    if let Some(busy) = ids.iter().position(|id| !locked.contains(id)) {
        shorten(page, ids[busy]);
        ids.truncate(busy);
    }
    Ok(ids)
}

/// Shortens a page to the keys before this one.
fn shorten(page: &mut Vec<ExaminedKey>, id: Uuid) {
    let end = page.iter().position(|key| key.id == id).unwrap_or(page.len());
    page.truncate(end);
}

/// Revokes locked keys. If descendants are to be included, one of the keys may have created another since the page was
/// read: then the page ends before it.
async fn revoke_keys(
    transaction: &DatabaseTransaction,
    job: &RevocationJob,
    mut ids: Vec<Uuid>,
    page: &mut Vec<ExaminedKey>,
    at: DateTime<Utc>,
) -> Result<Vec<KeyRecord>, DbErr> {
    if job.descendants && !ids.is_empty() {
        let creator = api_key::Column::CreationActorKeyId;
        let creators = api_key::Entity::find().select_only().column(creator).distinct();
        let creators = creators.filter(creator.is_in(ids.iter().copied()));
        let creators: Vec<Uuid> = creators.into_tuple().all(transaction).await?;
        if let Some(root) = ids.iter().position(|id| creators.contains(id)) {
            shorten(page, ids[root]);
            ids.truncate(root);
        }
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    revoke_all(transaction, ids, &job.revocation(at), |key| job.revoked_event(key, None, at)).await
}

/// Revokes a key and its descendants. Returns all that were revoked, and how many of them are descendants.
async fn revoke_tree(
    transaction: &DatabaseTransaction,
    job: &RevocationJob,
    root: Uuid,
    at: DateTime<Utc>,
) -> Result<(Vec<KeyRecord>, u64), DbErr> {
    let revocation = job.revocation(at);
    let lock = api_key::Entity::find().select_only().column(api_key::Column::Id);
    let lock = lock.filter(api_key::Column::Id.eq(root)).lock(LockType::Update);
    lock.into_tuple::<Uuid>().one(transaction).await?;
    let mut revoked = revoke_all(transaction, vec![root], &revocation, |key| job.revoked_event(key, None, at)).await?;
    let event = |key: &ApiKey| job.revoked_event(key, Some(root), at);
    let descendants = revoke_descendants(transaction, root, &revocation, event).await?;
    let number = descendants.len() as u64;
    revoked.extend(descendants);
    Ok((revoked, number))
}
