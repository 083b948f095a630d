//! Updates one of the current user's keys.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::api::auth::{Audited, Write};
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::responses::{ApiKeyResponse, key_response};
use crate::api::tag::Tag;
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::scope::Scopes;
use crate::http::body::JsonRequest;
use crate::http::body::media_type::MERGE_PATCH;
use crate::http::body::object_reader::{FromObject, ObjectReader};
use crate::http::headers::if_match::IfMatch;
use crate::http::problem::JSON;
use crate::http::route_spec::RouteSpec;
use crate::http::values::patch::Patch;
use crate::http::values::time::Expiry;
use crate::service::Services;
use crate::service::keys::KeyPatch;

pub struct UpdateKey;

pub const UPDATE_KEY_ROUTE: RouteSpec = RouteSpec::new("update_my_api_key");

error_set!(UpdateKeyErrors: 400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 500, 503);

/// The changes to a key: a JSON Merge Patch (RFC 7396).
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none, example)]
pub struct ApiKeyUpdateRequest {
    /// New label, with the same rules as on creation.
    name: Option<KeyName>,
    /// New scopes, replacing all current ones; `null` removes all.
    scopes: Patch<Scopes>,
    /// Merge patch of the caller-defined object: `null` fields are removed, others are set; `null` removes all.
    /// Numbers have the rules of a creation.
    metadata: Patch<Metadata>,
    /// New expiry time, in the future; `null` removes the expiry, or sets the latest one if there is a maximum.
    expires_at: Patch<Expiry>,
    /// False to disable the key, true to enable it again.
    enabled: Option<bool>,
}

impl FromObject for ApiKeyUpdateRequest {
    const MEDIA_TYPES: &'static [&'static str] = &[JSON, MERGE_PATCH];

    fn from_object(fields: &mut ObjectReader) -> Option<Self> {
        let name = fields.not_clearable("name");
        let scopes = fields.clearable("scopes");
        let metadata = fields.clearable("metadata");
        let expires_at = fields.clearable("expires_at");
        let enabled = fields.not_clearable("enabled");
        Some(Self { name: name?, scopes: scopes?, metadata: metadata?, expires_at: expires_at?, enabled: enabled? })
    }
}

impl Example for ApiKeyUpdateRequest {
    fn example() -> Self {
        Self {
            name: Some(KeyName::from_db("build bot".into())),
            scopes: Patch::Absent,
            metadata: Patch::Absent,
            expires_at: Patch::Absent,
            enabled: Some(false),
        }
    }
}

impl From<ApiKeyUpdateRequest> for KeyPatch {
    fn from(request: ApiKeyUpdateRequest) -> Self {
        Self {
            name: request.name,
            scopes: request.scopes.into_change().map(Option::unwrap_or_default),
            metadata: request.metadata.into_change().map(|patch| patch.map(Metadata::into_object)),
            expires_at: request.expires_at.into_change().map(|expiry| expiry.map(|Expiry(at)| at)),
            enabled: request.enabled,
        }
    }
}

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl UpdateKey {
    /// Update one of my API keys
    ///
    /// Applies a JSON Merge Patch (RFC 7396), sent as `application/json` or `application/merge-patch+json`: omitted
    /// fields are unchanged, `null` clears. `enabled: false` makes the key unusable until it is set to `true` again.
    ///
    /// A later or no expiry, `enabled: true` and new scopes need a caller that can grant every scope that the key then
    /// has (403). An API key as caller changes only keys whose scopes it has, and gives none a life beyond its own end.
    ///
    /// Send `If-Match` to prevent lost updates. A revoked key cannot be updated and returns 409.
    #[oai(path = "/:id", method = "patch", operation_id = "update_my_api_key")]
    async fn update(
        &self,
        audited: Audited<Write>,
        Data(services): Data<&Arc<Services>>,
        /// The key's id.
        id: Path<Uuid>,
        /// The key's `ETag`, from a `GET` of the key: returns 412 and changes nothing if the key has changed since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
        body: JsonRequest<ApiKeyUpdateRequest>,
    ) -> Result<ApiKeyResponse, ApiError<UpdateKeyErrors>> {
        let patch = body.value.into();
        let record = services.keys.update(&audited.context(), audited.own_keys(), id.0, patch, &if_match.0).await?;
        Ok(key_response(record, services))
    }
}
