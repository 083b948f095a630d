//! Rotates the secret of one of the current user's keys.

use std::sync::Arc;

use chrono::TimeDelta;
use poem::Request;
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::{Object, OpenApi};
use uuid::Uuid;

use crate::api::auth::{Audited, Write};
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::responses::{CreatedKeyResponse, created_response};
use crate::api::tag::Tag;
use crate::http::body::JsonRequest;
use crate::http::body::object_reader::{FromObject, ObjectReader};
use crate::http::headers::idempotency_key::IdempotencyKeyHeader;
use crate::http::headers::if_match::IfMatch;
use crate::http::route_spec::RouteSpec;
use crate::http::values::duration::Grace;
use crate::service::Services;

pub struct RotateKey;

pub const ROTATE_KEY_ROUTE: RouteSpec = RouteSpec::new("rotate_my_api_key");

error_set!(RotateKeyErrors: 400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 500, 503);

/// Options of a rotation.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
struct ApiKeyRotateRequest {
    /// Seconds for which the old secret keeps working, up to 30 days (2,592,000). Defaults to 0: it stops working
    /// immediately.
    grace_seconds: Option<Grace>,
}

impl ApiKeyRotateRequest {
    fn grace(&self) -> TimeDelta {
        self.grace_seconds.as_ref().map_or(TimeDelta::zero(), |Grace(grace)| *grace)
    }
}

impl FromObject for ApiKeyRotateRequest {
    const OPTIONAL: bool = true;

    fn from_object(fields: &mut ObjectReader) -> Option<Self> {
        Some(Self { grace_seconds: fields.optional("grace_seconds")? })
    }
}

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl RotateKey {
    /// Rotate one of my API keys
    ///
    /// Issues a new secret, returned once. The key's id, scopes, expiry and history are unchanged. The old secret works
    /// for `grace_seconds` more, but not past its own expiry. Rotating again during the grace period returns 409, as
    /// does rotating a key that is not active. The caller must be able to grant every scope of the key (403).
    ///
    /// Send `Idempotency-Key` to retry safely, as on creation. A repeated request returns the original response, even if
    /// its `If-Match` no longer names the key's revision.
    #[oai(path = "/:id/rotate", method = "post", operation_id = "rotate_my_api_key")]
    #[expect(clippy::too_many_arguments, reason = "one for each thing the operation takes from the request")]
    async fn rotate(
        &self,
        request: &Request,
        audited: Audited<Write>,
        Data(services): Data<&Arc<Services>>,
        /// The key's id.
        id: Path<Uuid>,
        /// The key's `ETag`, from a `GET` of the key: returns 412 and changes nothing if the key has changed since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
        /// Makes a retry safe: for 24 hours, the same value with the same body returns the original response. A value that
        /// cannot be guessed, such as a random UUID.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: IdempotencyKeyHeader,
        body: JsonRequest<ApiKeyRotateRequest>,
    ) -> Result<CreatedKeyResponse, ApiError<RotateKeyErrors>> {
        let operation = format!("rotate {}", id.0);
        let key = idempotency_key.0;
        let saved = key.map(|key| services.keys.idempotent_request(&audited.caller, &operation, &key, &body.bytes));
        let grace = body.value.grace();
        let issued =
            services.keys.rotate(&audited.context(), audited.own_keys(), id.0, grace, &if_match.0, saved).await?;
        Ok(created_response(request, issued))
    }
}
