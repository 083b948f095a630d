//! Administration: keys of all owners.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, Object, OpenApi};
use uuid::Uuid;

use crate::api::Tag;
use crate::api::auth::{Admin, Authorized};
use crate::api::keys::requests::ApiKeyRevokeRequest;
use crate::api::keys::schemas::{Found, Listed, Status};
use crate::api::keys::{found, listed};
use crate::domain::access::AccessFilter;
use crate::domain::audit::AuditContext;
use crate::domain::validation::ValidationError;
use crate::http::body::{FromObject, JsonRequest, JsonResponse, ObjectReader};
use crate::http::params::{Cursor, Limit};
use crate::http::problem::{Failure, may_fail};
use crate::http::request_context::AuditOrigin;
use crate::http::values::{Identifier, Reason, Time};
use crate::service::Service;
use crate::service::keys::{KeyFilter, KeyQuery};

pub struct AdminOperations;

/// Which keys to revoke.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
struct ApiKeyBulkRevokeRequest {
    /// Only keys made under tokens of this issuer.
    issuer: Option<Identifier>,
    /// Only keys of this user.
    subject: Option<Identifier>,
    /// Only keys of this organisation.
    organization: Option<Identifier>,
    /// Only keys made before this time.
    created_before: Option<Time>,
    /// For whoever asks later: 1 to 255 characters, by the rules of a name.
    reason: Option<Reason>,
    /// Count the keys and leave them as they are; `false` if absent.
    #[oai(default)]
    dry_run: bool,
}

impl FromObject for ApiKeyBulkRevokeRequest {
    fn from_object(members: &mut ObjectReader) -> Option<Self> {
        let request = Self {
            issuer: members.optional("issuer")?,
            subject: members.optional("subject")?,
            organization: members.optional("organization")?,
            created_before: members.optional("created_before")?,
            reason: members.optional("reason")?,
            dry_run: members.optional("dry_run")?.unwrap_or_default(),
        };
        // A filter forgotten would be every key there is.
        let filtered = request.issuer.is_some()
            || request.subject.is_some()
            || request.organization.is_some()
            || request.created_before.is_some();
        if !filtered {
            members.break_body(&ValidationError::new("must name issuer, subject, organization or created_before"));
        }
        Some(request)
    }
}

/// What a revocation by filter did.
#[derive(Object)]
struct ApiKeyBulkRevokeResponse {
    /// Keys that the filter matches and that were not revoked before.
    matched: u64,
    /// Keys that were revoked now: all that matched, or none in a dry run.
    revoked: u64,
    /// Whether it was a dry run.
    dry_run: bool,
}

#[derive(ApiResponse)]
enum Revoked {
    /// The keys are revoked, or counted.
    #[oai(status = 200)]
    Revoked(JsonResponse<ApiKeyBulkRevokeResponse>),
}

#[OpenApi(prefix_path = "/admin/api-keys", tag = "Tag::Administration")]
impl AdminOperations {
    /// List keys of any owner
    ///
    /// Deleted keys too, newest first, a page at a time. Needs the scope `api-keys:admin`, as do all operations here.
    #[oai(path = "/", method = "get", operation_id = "list_api_keys")]
    #[expect(clippy::too_many_arguments, reason = "one for each thing the operation takes from the request")]
    async fn list(
        &self,
        _caller: Authorized<Admin>,
        Data(service): Data<&Arc<Service>>,
        request: &Request,
        /// At most how many keys to answer.
        limit: Query<Option<Limit>>,
        /// Where to go on: the `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
        /// Only keys that are this now.
        status: Query<Option<Status>>,
        /// Only keys whose name has words that begin with these, in any order, whatever their case.
        #[oai(validator(max_length = 255))]
        q: Query<Option<String>>,
        /// Only keys made under tokens of this issuer.
        #[oai(validator(max_length = 255))]
        issuer: Query<Option<String>>,
        /// Only keys of this user.
        #[oai(validator(max_length = 255))]
        subject: Query<Option<String>>,
        /// Only keys of this organisation.
        #[oai(validator(max_length = 255))]
        organization: Query<Option<String>>,
    ) -> Result<Listed, Failure<{ may_fail(&[400, 401, 403, 500, 503]) }>> {
        let filter = KeyFilter {
            issuer: issuer.0,
            subject: subject.0,
            organization: organization.0,
            status: status.0.map(Into::into),
            q: q.0,
            created_before: None,
        };
        let query = KeyQuery { filter, after: cursor.0.map(|Cursor(id)| id), limit: limit.0.unwrap_or_default().0 };
        let page = service.list_keys(AccessFilter::Any, &query).await?;
        Ok(listed(request, page, service))
    }

    /// Get a key of any owner
    ///
    /// A deleted key too.
    #[oai(path = "/:id", method = "get", operation_id = "get_api_key")]
    async fn get(
        &self,
        _caller: Authorized<Admin>,
        Data(service): Data<&Arc<Service>>,
        /// The key's id.
        id: Path<Uuid>,
    ) -> Result<Found, Failure<{ may_fail(&[400, 401, 403, 404, 500, 503]) }>> {
        Ok(found(service.find_key(AccessFilter::Any, id.0).await?, service))
    }

    /// Revoke a key of any owner
    ///
    /// Ends the key for good, as its owner could. Revoking again changes nothing.
    #[oai(path = "/:id/revoke", method = "post", operation_id = "revoke_api_key")]
    async fn revoke(
        &self,
        caller: Authorized<Admin>,
        Data(service): Data<&Arc<Service>>,
        origin: AuditOrigin,
        /// The key's id.
        id: Path<Uuid>,
        body: JsonRequest<ApiKeyRevokeRequest>,
    ) -> Result<Found, Failure<{ may_fail(&[400, 401, 403, 404, 408, 413, 415, 422, 500, 503]) }>> {
        let audit = AuditContext { caller: &caller.0, origin: &origin.0, at: service.clock.now() };
        Ok(found(service.revoke_key(&audit, AccessFilter::Any, id.0, body.value.reason()).await?, service))
    }

    /// Revoke all keys that match
    ///
    /// For the day something leaked: every key that all the given members match. At least one must be given. Try it with
    /// `dry_run` first.
    #[oai(path = "/revoke", method = "post", operation_id = "revoke_api_keys")]
    async fn revoke_all(
        &self,
        caller: Authorized<Admin>,
        Data(service): Data<&Arc<Service>>,
        origin: AuditOrigin,
        body: JsonRequest<ApiKeyBulkRevokeRequest>,
    ) -> Result<Revoked, Failure<{ may_fail(&[400, 401, 403, 408, 413, 415, 422, 500, 503]) }>> {
        let audit = AuditContext { caller: &caller.0, origin: &origin.0, at: service.clock.now() };
        let ApiKeyBulkRevokeRequest { issuer, subject, organization, created_before, reason, dry_run } = body.value;
        let name = |identifier: Option<Identifier>| identifier.map(|Identifier(text)| text);
        let filter = KeyFilter {
            issuer: name(issuer),
            subject: name(subject),
            organization: name(organization),
            created_before: created_before.map(|Time(time)| time),
            ..KeyFilter::default()
        };
        let reason = reason.map(|Reason(text)| text);
        let done = service.revoke_keys(&audit, &filter, reason, dry_run).await?;
        let answer = ApiKeyBulkRevokeResponse { matched: done.matched, revoked: done.revoked, dry_run };
        Ok(Revoked::Revoked(JsonResponse(answer)))
    }
}
