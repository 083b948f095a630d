//! Returns one of the current user's keys.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use uuid::Uuid;

use crate::api::auth::{Authorized, Read};
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::responses::{ApiKeyResponse, key_response};
use crate::api::tag::Tag;
use crate::http::headers::if_match::IfMatch;
use crate::http::route_spec::RouteSpec;
use crate::service::Services;

pub struct GetKey;

pub const GET_KEY_ROUTE: RouteSpec = RouteSpec::new("get_my_api_key");

error_set!(GetKeyErrors: 400, 401, 403, 404, 412, 500, 503);

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl GetKey {
    /// Get one of my API keys
    ///
    /// Returns the key with its active secrets, whose `last_used_at` shows whether an old secret is still in use after
    /// a rotation. Keys of other owners return 404, exactly like unknown ids.
    ///
    /// `ETag` is the key's revision, for `If-Match` of a later request.
    #[oai(path = "/:id", method = "get", operation_id = "get_my_api_key")]
    async fn get(
        &self,
        caller: Authorized<Read>,
        Data(services): Data<&Arc<Services>>,
        /// The key's id.
        id: Path<Uuid>,
        /// The key's `ETag`, from an earlier `GET` of the key: returns 412 if the key has changed since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
    ) -> Result<ApiKeyResponse, ApiError<GetKeyErrors>> {
        let record = services.keys.get(caller.own_keys(), id.0, &if_match.0).await?;
        Ok(key_response(record, services))
    }
}
