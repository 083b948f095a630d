//! Revocation jobs: bulk revocations, and how far each is.
//!
//! What a batch of a job revokes and how far the job then is are committed in one transaction, which locks the row of the
//! job. So a crash repeats and loses nothing, and of several replicas one at a time continues a job.

mod batch;
mod examine;
mod rows;

use chrono::{DateTime, Utc};
use entity::api_key;
use entity::revocation_job::{Column, Entity};
use sea_orm::sea_query::LockType;
use sea_orm::{
    ColumnTrait, Condition, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use uuid::Uuid;

use crate::domain::access::AdminAccess;
use crate::domain::audit::AuditOrigin;
use crate::domain::revocation_job::{JobStatus, RevocationJob};
use crate::store::{Store, StoreError, audit_events};

pub use crate::store::revocation_jobs::batch::{BatchLimits, JobBatch};
pub use crate::store::revocation_jobs::examine::KeyPage;

impl Store {
    /// Writes a new job and the event of its start. It is to examine the keys that exist now: their greatest id is looked
    /// up, because the clocks of replicas differ.
    pub async fn create_revocation_job(&self, mut job: RevocationJob) -> Result<RevocationJob, StoreError> {
        self.write(async |transaction| {
            let newest = api_key::Entity::find().select_only().column(api_key::Column::Id);
            let newest = newest.order_by_desc(api_key::Column::Id).limit(1);
            let newest: Option<Uuid> = newest.into_tuple().one(transaction).await?;
            let above_newest = newest.map_or(0, |id| id.as_u128().saturating_add(1));
            job.unexamined_below = job.filter.ids_below().min(Uuid::from_u128(above_newest));
            Entity::insert(rows::new_row(&job)).exec_without_returning(transaction).await?;
            audit_events::insert_events(transaction, &[job.started_event()]).await?;
            Ok(job.clone())
        })
        .await
    }

    pub async fn find_revocation_job(
        &self,
        reach: AdminAccess<'_>,
        id: Uuid,
    ) -> Result<Option<RevocationJob>, StoreError> {
        self.read(async |database| {
            jobs_in(reach).filter(Column::Id.eq(id)).one(database).await?.map(rows::job).transpose()
        })
        .await
    }

    /// Returns at most `limit` jobs that were requested before the job `after`, newest first.
    pub async fn list_revocation_jobs(
        &self,
        reach: AdminAccess<'_>,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<RevocationJob>, StoreError> {
        let page = Condition::all().add_option(after.map(|after| Column::Id.lt(after)));
        let page = jobs_in(reach).filter(page).order_by_desc(Column::Id).limit(limit);
        self.scan(async |database| page.all(database).await?.into_iter().map(rows::job).collect()).await
    }

    /// The jobs that are neither completed, canceled nor failed. First that which has examined the fewest keys, so that a
    /// small one need not wait for the end of a large one.
    pub async fn list_unfinished_revocation_jobs(&self) -> Result<Vec<Uuid>, StoreError> {
        let unfinished = Entity::find().select_only().column(Column::Id).filter(Column::CompletedAt.is_null());
        let unfinished = unfinished.order_by_asc(Column::Examined).order_by_asc(Column::Id).into_tuple();
        self.read(async |database| unfinished.all(database).await).await
    }

    /// Ends a job that is unfinished, and returns it. A finished one stays as it is. `None` if it is not within `reach`.
    pub async fn end_revocation_job(
        &self,
        reach: AdminAccess<'_>,
        id: Uuid,
        status: JobStatus,
        at: DateTime<Utc>,
        origin: Option<AuditOrigin>,
    ) -> Result<Option<RevocationJob>, StoreError> {
        self.write(async |transaction| {
            let job = jobs_in(reach).filter(Column::Id.eq(id)).lock(LockType::Update).one(transaction).await?;
            let Some(mut job) = job.map(rows::job).transpose()? else { return Ok(None) };
            if job.completed_at.is_none() {
                job.end(status, at);
                write_progress(transaction, &job).await?;
                audit_events::insert_events(transaction, &[job.ended_event(origin.clone())]).await?;
            }
            Ok(Some(job))
        })
        .await
    }
}

/// The jobs that reach no key beyond this.
fn jobs_in(reach: AdminAccess<'_>) -> Select<Entity> {
    match reach {
        AdminAccess::Any => Entity::find(),
        AdminAccess::Issuer(issuer) => Entity::find().filter(Column::ReachIssuer.eq(issuer)),
        AdminAccess::Organization { issuer, organization } => {
            Entity::find().filter(Column::ReachIssuer.eq(issuer)).filter(Column::ReachOrganization.eq(organization))
        }
    }
}

/// Writes how far a job is.
async fn write_progress(transaction: &DatabaseTransaction, job: &RevocationJob) -> Result<(), DbErr> {
    Entity::update(rows::progress_row(job)).exec_without_returning(transaction).await.map(drop)
}
