//! Revokes every key that matches a filter.

use std::sync::Arc;
use std::time::Duration;

use poem::Request;
use poem::web::Data;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::admin::revocation_jobs::BulkRevocation;
use crate::api::auth::{Admin, Audited};
use crate::api::errors::{ApiError, error_set};
use crate::api::schema_rules::SchemaRules;
use crate::api::tag::{BASE, Tag};
use crate::domain::revocation_job::RevocationFilter;
use crate::domain::validation::ValidationError;
use crate::http::body::object_reader::{FromObject, ObjectReader};
use crate::http::body::{JsonRequest, JsonResponse};
use crate::http::headers::location::location;
use crate::http::route_spec::RouteSpec;
use crate::http::values::text::{Identifier, Reason};
use crate::http::values::time::Time;
use crate::service::Services;
use crate::service::keys::RevocationRequest;
use crate::service::revocation_jobs::KeyCount;

pub struct BulkRevokeKeys;

pub const BULK_REVOKE_ROUTE: RouteSpec = RouteSpec::new("revoke_api_keys");

error_set!(BulkRevokeErrors: 400, 401, 403, 408, 413, 415, 422, 500, 503);

/// Filter of the keys to revoke. At least one of `issuer`, `subject`, `organization`, `created_by_key` and
/// `created_before` is required. Texts have 1 to 255 characters, none of them a control character.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ApiKeyBulkRevokeRequest {
    /// Issuer of the owner.
    issuer: Option<Identifier>,
    /// Subject of the owner.
    subject: Option<Identifier>,
    /// Organization of the owner.
    organization: Option<Identifier>,
    /// Only keys that this key created.
    created_by_key: Option<Uuid>,
    /// Only keys created before this time.
    created_before: Option<Time>,
    /// Free-text reason with the rules of a name, stored with the revocation.
    reason: Option<Reason>,
    /// True to revoke the descendants of the matching keys, too: the keys that they created, and so on; also those of
    /// matching keys that were revoked before. Each key is revoked with its descendants in one transaction. Defaults to
    /// the setting `--revoke-descendants`.
    descendants: Option<bool>,
    /// Count the matching keys without revoking them. Defaults to false.
    #[oai(default)]
    dry_run: bool,
}

impl SchemaRules for ApiKeyBulkRevokeRequest {
    fn amend(schema: &mut Value) {
        // As much of the rule as generators understand: `anyOf` or `not` would become types of their own.
        schema["minProperties"] = json!(1);
    }
}

impl FromObject for ApiKeyBulkRevokeRequest {
    fn from_object(fields: &mut ObjectReader) -> Option<Self> {
        let (issuer, subject) = (fields.optional("issuer"), fields.optional("subject"));
        let (organization, created_by_key) = (fields.optional("organization"), fields.optional("created_by_key"));
        let (created_before, reason) = (fields.optional("created_before"), fields.optional("reason"));
        let (descendants, dry_run) = (fields.optional("descendants"), fields.optional("dry_run"));
        let request = Self {
            issuer: issuer?,
            subject: subject?,
            organization: organization?,
            created_by_key: created_by_key?,
            created_before: created_before?,
            reason: reason?,
            descendants: descendants?,
            dry_run: dry_run?.unwrap_or_default(),
        };
        // An empty filter matches every key.
        let filtered = request.issuer.is_some()
            || request.subject.is_some()
            || request.organization.is_some()
            || request.created_by_key.is_some()
            || request.created_before.is_some();
        if !filtered {
            fields.add_body_error(&ValidationError::new(
                "must have at least one of issuer, subject, organization, created_by_key and created_before",
            ));
        }
        Some(request)
    }
}

/// Number of keys that a bulk revocation would revoke now.
#[derive(Object)]
pub struct ApiKeyBulkRevokeCount {
    /// Number of keys that match the filter and are not revoked.
    matched: u64,
    /// Number of other keys that are not revoked and descend from a key that matches. 0 unless `descendants`.
    descendants: u64,
    /// False if the count ended early, after 5 seconds or, with `descendants`, 100,000 keys: there are at least so many.
    complete: bool,
}

impl From<&KeyCount> for ApiKeyBulkRevokeCount {
    fn from(&KeyCount { matched, descendants, complete }: &KeyCount) -> Self {
        Self { matched, descendants, complete }
    }
}

/// What a request to revoke in bulk led to.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct ApiKeyBulkRevokeResponse {
    // One schema for both statuses: progenitor 0.15.1, a generator of Rust clients, rejects two.
    /// The job that revokes the keys. Omitted in a dry run.
    job: Option<BulkRevocation>,
    /// How many keys match. Only in a dry run.
    count: Option<ApiKeyBulkRevokeCount>,
}

#[derive(ApiResponse)]
enum BulkRevokeResponse {
    /// The keys are counted, in a dry run. None is revoked.
    #[oai(status = 200)]
    Counted(JsonResponse<ApiKeyBulkRevokeResponse>),
    /// The revocation is recorded as a job. A small one is already completed.
    #[oai(status = 202)]
    Accepted(
        JsonResponse<ApiKeyBulkRevokeResponse>,
        /// URL of the job, relative to the request's URL (RFC 3986).
        #[oai(header = "Location")]
        String,
    ),
}

/// How long a response waits for the job, so that a client need not ask for the result of a small one.
const JOB_WAIT: Duration = Duration::from_secs(1);

#[OpenApi(tag = "Tag::Administration")]
impl BulkRevokeKeys {
    /// Revoke all keys that match
    ///
    /// Records a job that revokes every key that the administrator reaches and that matches all given filters (at least one
    /// is required), among the keys that exist now. Use `dry_run` to count first. The response comes when the job is
    /// completed, after one second at the latest. A job continues in the background, also after a restart of the server;
    /// its state is at `Location`. Each key is revoked as soon as the job reaches it, and other replicas learn of it as of
    /// any other revocation. Requires `api-keys:admin`.
    #[oai(path = "/admin/api-keys/revoke", method = "post", operation_id = "revoke_api_keys")]
    async fn revoke_matching(
        &self,
        http: &Request,
        audited: Audited<Admin>,
        Data(services): Data<&Arc<Services>>,
        body: JsonRequest<ApiKeyBulkRevokeRequest>,
    ) -> Result<BulkRevokeResponse, ApiError<BulkRevokeErrors>> {
        let ApiKeyBulkRevokeRequest {
            issuer,
            subject,
            organization,
            created_by_key,
            created_before,
            reason,
            descendants,
            dry_run,
        } = body.value;
        let name = |identifier: Option<Identifier>| identifier.map(|Identifier(text)| text);
        let filter = RevocationFilter {
            issuer: name(issuer),
            subject: name(subject),
            organization: name(organization),
            created_by_key,
            created_before: created_before.map(|Time(time)| time),
        };
        let (jobs, reach) = (&services.revocation_jobs, audited.reach());
        if dry_run {
            let count = jobs.count(&audited.caller, reach, &filter, descendants).await?;
            let body = ApiKeyBulkRevokeResponse { job: None, count: Some((&count).into()) };
            return Ok(BulkRevokeResponse::Counted(JsonResponse(body)));
        }
        let request = RevocationRequest { reason: reason.map(|Reason(text)| text), descendants };
        let job = jobs.record(&audited.context(), reach, filter, request).await?;
        let job = jobs.wait_for_end(job, JOB_WAIT).await;
        let location = location(http, &format!("{BASE}/admin/revocation-jobs/{}", job.id));
        let body = ApiKeyBulkRevokeResponse { job: Some(job.into()), count: None };
        Ok(BulkRevokeResponse::Accepted(JsonResponse(body), location))
    }
}
