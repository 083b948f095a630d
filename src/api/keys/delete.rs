//! Deletes one of the current user's keys: revokes it and hides it from its owner.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use uuid::Uuid;

use crate::api::auth::{Audited, Revoke};
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::responses::{NoContent, no_content};
use crate::api::tag::Tag;
use crate::http::headers::if_match::IfMatch;
use crate::http::route_spec::RouteSpec;
use crate::service::Services;

pub struct DeleteKey;

pub const DELETE_KEY_ROUTE: RouteSpec = RouteSpec::new("delete_my_api_key");

error_set!(DeleteKeyErrors: 400, 401, 403, 404, 412, 500, 503);

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl DeleteKey {
    /// Delete one of my API keys
    ///
    /// Revokes the key and hides it from its owner (404). Audit events are kept. Keys that are revoked because they descend
    /// from it stay listed.
    #[oai(path = "/:id", method = "delete", operation_id = "delete_my_api_key")]
    async fn delete(
        &self,
        audited: Audited<Revoke>,
        Data(services): Data<&Arc<Services>>,
        /// The key's id.
        id: Path<Uuid>,
        /// True to revoke the keys that it created, too, those that they created, and so on, in one transaction. Defaults
        /// to the setting `--revoke-descendants`.
        descendants: Query<Option<bool>>,
        /// The key's `ETag`, from a `GET` of the key: returns 412 and changes nothing if the key has changed since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
    ) -> Result<NoContent, ApiError<DeleteKeyErrors>> {
        let access = audited.own_keys();
        let deleted = services.keys.delete(&audited.context(), access, id.0, descendants.0, &if_match.0).await?;
        Ok(no_content(&deleted))
    }
}
