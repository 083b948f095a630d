//! Revokes one of the current user's keys.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use uuid::Uuid;

use crate::api::auth::{Audited, Revoke};
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::requests::ApiKeyRevokeRequest;
use crate::api::keys::responses::{ApiKeyResponse, revoked_response};
use crate::api::tag::Tag;
use crate::http::body::JsonRequest;
use crate::http::headers::if_match::IfMatch;
use crate::http::route_spec::RouteSpec;
use crate::service::Services;

pub struct RevokeKey;

pub const REVOKE_KEY_ROUTE: RouteSpec = RouteSpec::new("revoke_my_api_key");

error_set!(RevokeKeyErrors: 400, 401, 403, 404, 408, 412, 413, 415, 422, 500, 503);

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl RevokeKey {
    /// Revoke one of my API keys
    ///
    /// Permanently revokes the key. Takes effect on this replica before the response is sent, on other replicas
    /// typically within milliseconds and at most 5 seconds while the database is reachable. Revoking twice has no
    /// effect.
    ///
    /// The key stays listed, with the time, the actor and the reason of its revocation. The keys that it created stay
    /// valid unless `descendants` is true.
    #[oai(path = "/:id/revoke", method = "post", operation_id = "revoke_my_api_key")]
    async fn revoke(
        &self,
        audited: Audited<Revoke>,
        Data(services): Data<&Arc<Services>>,
        /// The key's id.
        id: Path<Uuid>,
        /// The key's `ETag`, from a `GET` of the key: returns 412 and changes nothing if the key has changed since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
        body: JsonRequest<ApiKeyRevokeRequest>,
    ) -> Result<ApiKeyResponse, ApiError<RevokeKeyErrors>> {
        let (request, precondition) = (body.value.into(), if_match.0);
        let revoked =
            services.keys.revoke(&audited.context(), audited.own_keys(), id.0, request, &precondition).await?;
        Ok(revoked_response(revoked, services))
    }
}
