//! Lists, returns and cancels bulk revocations.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Object, OpenApi};
use uuid::Uuid;

use crate::api::audit::AuditActor;
use crate::api::auth::{Admin, Audited, Authorized};
use crate::api::enums::api_enum;
use crate::api::errors::{ApiError, error_set};
use crate::api::page::NextPage;
use crate::api::tag::Tag;
use crate::domain::revocation_job;
use crate::http::body::JsonResponse;
use crate::http::params::cursor::Cursor;
use crate::http::params::limit::Limit;
use crate::http::route_spec::RouteSpec;
use crate::http::values::text::{Identifier, Reason};
use crate::http::values::time::Time;
use crate::service::Services;

pub struct RevocationJobOperations;

pub const LIST_JOBS_ROUTE: RouteSpec = RouteSpec::new("list_revocation_jobs");
pub const GET_JOB_ROUTE: RouteSpec = RouteSpec::new("get_revocation_job");
pub const CANCEL_JOB_ROUTE: RouteSpec = RouteSpec::new("cancel_revocation_job");

error_set!(ListJobsErrors: 400, 401, 403, 500, 503);
error_set!(GetJobErrors: 400, 401, 403, 404, 500, 503);
error_set!(CancelJobErrors: 400, 401, 403, 404, 500, 503);

api_enum! {
    /// State of a bulk revocation.
    #[oai(rename_all = "lowercase")]
    pub enum JobStatus = revocation_job::JobStatus {
        Queued,
        Running,
        Completed,
        Canceled,
        Failed,
    }
}

/// Filter of a bulk revocation. It matches the keys that have all of these values.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct BulkRevocationFilter {
    /// Issuer of the owner.
    issuer: Option<Identifier>,
    /// Subject of the owner.
    subject: Option<Identifier>,
    /// Organization of the owner.
    organization: Option<Identifier>,
    /// Key that created them.
    created_by_key: Option<Uuid>,
    /// Time before which they were created.
    created_before: Option<Time>,
}

/// A bulk revocation: how far it is, and what it has done.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct BulkRevocation {
    /// Id of the job. The audit events of the keys that it revokes have it as `job_id`.
    id: Uuid,
    /// `queued` and `running`: the job is unfinished, and continues also after a restart. `completed`: all keys that match
    /// are revoked. `canceled`, or `failed` after repeated errors: the keys that it had revoked stay revoked.
    status: JobStatus,
    /// Filter of the keys.
    filter: BulkRevocationFilter,
    /// Reason, stored with each revocation.
    reason: Option<Reason>,
    /// True if the descendants of the matching keys are revoked, too.
    descendants: bool,
    /// Who requested it.
    requested_by: AuditActor,
    /// Number of keys that it has examined, whether or not they match.
    examined: u64,
    /// Number of keys that it has revoked, descendants included.
    revoked: u64,
    /// Number of those that it has revoked as descendants of another.
    revoked_descendants: u64,
    /// Time of the request.
    created_at: Time,
    /// Time of the last progress.
    updated_at: Time,
    /// Time at which it was completed or canceled, or failed. Omitted while it is unfinished.
    completed_at: Option<Time>,
}

impl From<revocation_job::RevocationJob> for BulkRevocation {
    fn from(job: revocation_job::RevocationJob) -> Self {
        let revocation_job::RevocationFilter { issuer, subject, organization, created_by_key, created_before } =
            job.filter;
        Self {
            id: job.id,
            status: job.status.into(),
            filter: BulkRevocationFilter {
                issuer: issuer.map(Identifier),
                subject: subject.map(Identifier),
                organization: organization.map(Identifier),
                created_by_key,
                created_before: created_before.map(Time),
            },
            reason: job.reason.map(Reason),
            descendants: job.descendants,
            requested_by: job.origin.actor.into(),
            examined: job.examined,
            revoked: job.revoked,
            revoked_descendants: job.revoked_descendants,
            created_at: Time(job.created_at),
            updated_at: Time(job.updated_at),
            completed_at: job.completed_at.map(Time),
        }
    }
}

/// A page of bulk revocations, newest first.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct BulkRevocationList {
    /// Bulk revocations of this page.
    #[oai(validator(max_items = 100))]
    items: Vec<BulkRevocation>,
    /// Value of `cursor` for the next page. Omitted on the last page.
    next_cursor: Option<String>,
}

#[derive(ApiResponse)]
enum RevocationJobPage {
    /// A page of bulk revocations.
    #[oai(status = 200)]
    Page(
        JsonResponse<BulkRevocationList>,
        /// URL of the next page, relative to the request's URL, as `<?...>; rel="next"` (RFC 8288). Omitted on the last page.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
enum RevocationJobResponse {
    /// The bulk revocation.
    #[oai(status = 200)]
    Job(JsonResponse<BulkRevocation>),
}

#[OpenApi(prefix_path = "/admin/revocation-jobs", tag = "Tag::Administration")]
impl RevocationJobOperations {
    /// List bulk revocations
    ///
    /// Returns the bulk revocations that reach no key beyond those that the administrator reaches, newest first. Requires
    /// `api-keys:admin`.
    #[oai(path = "/", method = "get", operation_id = "list_revocation_jobs")]
    async fn list(
        &self,
        caller: Authorized<Admin>,
        Data(services): Data<&Arc<Services>>,
        request: &Request,
        /// Maximum number of items.
        limit: Query<Option<Limit>>,
        /// `next_cursor` from the previous page.
        cursor: Query<Option<Cursor>>,
    ) -> Result<RevocationJobPage, ApiError<ListJobsErrors>> {
        let after = cursor.0.map(|Cursor(id)| id);
        let page = services.revocation_jobs.list(caller.reach(), after, limit.0.unwrap_or_default().0).await?;
        let NextPage { cursor: next_cursor, link } = NextPage::new(request, page.next);
        let items = page.items.into_iter().map(BulkRevocation::from).collect();
        Ok(RevocationJobPage::Page(JsonResponse(BulkRevocationList { items, next_cursor }), link))
    }

    /// Get a bulk revocation
    ///
    /// Returns how far the bulk revocation is. One that reaches keys beyond those that the administrator reaches is not
    /// found. Requires `api-keys:admin`.
    #[oai(path = "/:id", method = "get", operation_id = "get_revocation_job")]
    async fn get(
        &self,
        caller: Authorized<Admin>,
        Data(services): Data<&Arc<Services>>,
        /// The job's id.
        id: Path<Uuid>,
    ) -> Result<RevocationJobResponse, ApiError<GetJobErrors>> {
        let job = services.revocation_jobs.get(caller.reach(), id.0).await?;
        Ok(RevocationJobResponse::Job(JsonResponse(job.into())))
    }

    /// Cancel a bulk revocation
    ///
    /// Stops the bulk revocation. The keys that it has revoked stay revoked. Without effect if it is finished: then
    /// `status` says how. Requires `api-keys:admin`.
    #[oai(path = "/:id/cancel", method = "post", operation_id = "cancel_revocation_job")]
    async fn cancel(
        &self,
        audited: Audited<Admin>,
        Data(services): Data<&Arc<Services>>,
        /// The job's id.
        id: Path<Uuid>,
    ) -> Result<RevocationJobResponse, ApiError<CancelJobErrors>> {
        let job = services.revocation_jobs.cancel(&audited.context(), audited.reach(), id.0).await?;
        Ok(RevocationJobResponse::Job(JsonResponse(job.into())))
    }
}
