//! Lists, returns and revokes keys of any owner.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use uuid::Uuid;

use crate::api::auth::{Admin, Audited, Authorized};
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::requests::ApiKeyRevokeRequest;
use crate::api::keys::responses::{ApiKeyPage, ApiKeyResponse, key_response, page_response, revoked_response};
use crate::api::keys::schemas::Status;
use crate::api::tag::Tag;
use crate::http::body::JsonRequest;
use crate::http::headers::if_match::IfMatch;
use crate::http::params::cursor::Cursor;
use crate::http::params::limit::Limit;
use crate::http::route_spec::RouteSpec;
use crate::service::Services;
use crate::service::keys::{KeyFilter, KeyQuery};

pub struct AdminKeyOperations;

pub const LIST_ALL_KEYS_ROUTE: RouteSpec = RouteSpec::new("list_api_keys");
pub const GET_ANY_KEY_ROUTE: RouteSpec = RouteSpec::new("get_api_key");
pub const REVOKE_ANY_KEY_ROUTE: RouteSpec = RouteSpec::new("revoke_api_key");

error_set!(ListAllKeysErrors: 400, 401, 403, 500, 503);
error_set!(GetAnyKeyErrors: 400, 401, 403, 404, 412, 500, 503);
error_set!(RevokeAnyKeyErrors: 400, 401, 403, 404, 408, 412, 413, 415, 422, 500, 503);

#[OpenApi(prefix_path = "/admin/api-keys", tag = "Tag::Administration")]
impl AdminKeyOperations {
    /// List keys of any owner
    ///
    /// Returns the keys that the administrator reaches, including deleted ones, newest first: those of its own
    /// organization, or of its own issuer if its credential names no organization. An issuer with the option `operators`
    /// reaches the keys of all owners. A page reads a bounded number of keys, so one with a filter may be empty although
    /// more follow: continue until `next_cursor` is omitted. Requires `api-keys:admin`.
    #[oai(path = "/", method = "get", operation_id = "list_api_keys")]
    #[expect(clippy::too_many_arguments, reason = "one for each thing the operation takes from the request")]
    async fn list(
        &self,
        caller: Authorized<Admin>,
        Data(services): Data<&Arc<Services>>,
        request: &Request,
        /// Maximum number of items.
        limit: Query<Option<Limit>>,
        /// `next_cursor` from the previous page.
        cursor: Query<Option<Cursor>>,
        /// Filter by current status.
        status: Query<Option<Status>>,
        /// Filter by name: every word must be a prefix of a word in the name (case-insensitive).
        #[oai(validator(max_length = 255))]
        q: Query<Option<String>>,
        /// Filter by issuer of the owner.
        #[oai(validator(max_length = 255))]
        issuer: Query<Option<String>>,
        /// Filter by subject of the owner.
        #[oai(validator(max_length = 255))]
        subject: Query<Option<String>>,
        /// Filter by organization of the owner. Empty: owners without one.
        #[oai(validator(max_length = 255))]
        organization: Query<Option<String>>,
        /// Filter by the key that created them.
        created_by_key: Query<Option<Uuid>>,
    ) -> Result<ApiKeyPage, ApiError<ListAllKeysErrors>> {
        let filter = KeyFilter {
            issuer: issuer.0,
            subject: subject.0,
            organization: organization.0,
            created_by_key: created_by_key.0,
            status: status.0.map(Into::into),
            q: q.0,
            created_before: None,
        };
        let query = KeyQuery { filter, after: cursor.0.map(|Cursor(id)| id), limit: limit.0.unwrap_or_default().0 };
        let page = services.keys.list(caller.administered_keys(), &query).await?;
        Ok(page_response(request, page, services))
    }

    /// Get a key of any owner
    ///
    /// Returns the key with its active secrets, even if it is deleted. A key that the administrator does not reach is not
    /// found. Requires `api-keys:admin`.
    #[oai(path = "/:id", method = "get", operation_id = "get_api_key")]
    async fn get(
        &self,
        caller: Authorized<Admin>,
        Data(services): Data<&Arc<Services>>,
        /// The key's id.
        id: Path<Uuid>,
        /// The key's `ETag`, from an earlier `GET` of the key: returns 412 if the key has changed since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
    ) -> Result<ApiKeyResponse, ApiError<GetAnyKeyErrors>> {
        Ok(key_response(services.keys.get(caller.administered_keys(), id.0, &if_match.0).await?, services))
    }

    /// Revoke a key of any owner
    ///
    /// Permanently revokes the key. Takes effect on this replica before the response is sent, on other replicas
    /// typically within milliseconds and at most 5 seconds while the database is reachable. Revoking twice has no
    /// effect. A key that the administrator does not reach is not found. Requires `api-keys:admin`.
    #[oai(path = "/:id/revoke", method = "post", operation_id = "revoke_api_key")]
    async fn revoke(
        &self,
        audited: Audited<Admin>,
        Data(services): Data<&Arc<Services>>,
        /// The key's id.
        id: Path<Uuid>,
        /// The key's `ETag`, from a `GET` of the key: returns 412 and changes nothing if the key has changed since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
        body: JsonRequest<ApiKeyRevokeRequest>,
    ) -> Result<ApiKeyResponse, ApiError<RevokeAnyKeyErrors>> {
        let request = body.value.into();
        let revoked =
            services.keys.revoke(&audited.context(), audited.administered_keys(), id.0, request, &if_match.0).await?;
        Ok(revoked_response(revoked, services))
    }
}
