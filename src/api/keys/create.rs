//! Creates a key for the current user.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use crate::api::auth::{Audited, Write};
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::responses::{CreatedKeyResponse, created_response};
use crate::api::tag::Tag;
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::scope::Scopes;
use crate::domain::validation::ValidationError;
use crate::http::body::JsonRequest;
use crate::http::body::object_reader::{FromObject, ObjectReader};
use crate::http::headers::idempotency_key::IdempotencyKeyHeader;
use crate::http::route_spec::{Dispatch, RouteSpec};
use crate::http::values::duration::Lifetime;
use crate::http::values::time::Expiry;
use crate::service::Services;
use crate::service::keys::{NewKey, RequestedExpiry};

pub struct CreateKey;

pub const CREATE_KEY_ROUTE: RouteSpec =
    RouteSpec { dispatch: Dispatch::Endpoint, ..RouteSpec::new("create_my_api_key") };

error_set!(CreateKeyErrors: 400, 401, 403, 404, 408, 409, 413, 415, 422, 500, 503);

/// A key to create. The name has 1 to 255 characters after trimming, without control or format characters, and is
/// stored in Unicode normalization form C.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none, example)]
pub struct ApiKeyCreateRequest {
    /// Human-readable label for the API key
    name: KeyName,
    /// Permissions of the key: at most 100 scopes of 10,000 characters in all, compared exactly. Each has 1 to 255
    /// visible ASCII characters, without `"` and `\`.
    /// Scopes that begin with `api-keys:` are reserved for this service; only a caller that holds one can grant it.
    scopes: Option<Scopes>,
    /// Caller-defined object, at most 4096 bytes as JSON without white space; returned on every verification. A number is
    /// returned with the same value: an integer of 64 bits, or another number that comes back the same from a double. Any other
    /// is rejected, because JSON parsers differ in how they change it (RFC 8259, section 6): send it as a string.
    metadata: Option<Metadata>,
    /// Expiry time; the key is invalid from this instant. Must be in the future, and within the maximum lifetime if the
    /// deployment sets one. Without it the deployment's default applies. Mutually exclusive with `expires_in_seconds`.
    expires_at: Option<Expiry>,
    /// Lifetime in seconds from now, up to 100 years (3,153,600,000). Mutually exclusive with `expires_at`.
    expires_in_seconds: Option<Lifetime>,
}

impl FromObject for ApiKeyCreateRequest {
    fn from_object(fields: &mut ObjectReader) -> Option<Self> {
        let name = fields.required("name");
        let scopes = fields.optional("scopes");
        let metadata = fields.optional("metadata");
        let expires_at = fields.optional("expires_at");
        let expires_in_seconds = fields.optional("expires_in_seconds");
        if let (Some(Some(_)), Some(Some(_))) = (&expires_at, &expires_in_seconds) {
            fields.add_error("expires_in_seconds", &ValidationError::new("cannot be combined with expires_at"));
        }
        Some(Self {
            name: name?,
            scopes: scopes?,
            metadata: metadata?,
            expires_at: expires_at?,
            expires_in_seconds: expires_in_seconds?,
        })
    }
}

impl Example for ApiKeyCreateRequest {
    fn example() -> Self {
        Self {
            name: KeyName::from_db("example".into()),
            scopes: None,
            metadata: None,
            expires_at: None,
            expires_in_seconds: None,
        }
    }
}

impl From<ApiKeyCreateRequest> for NewKey {
    fn from(request: ApiKeyCreateRequest) -> Self {
        let after = request.expires_in_seconds.map(|Lifetime(lifetime)| RequestedExpiry::After(lifetime));
        Self {
            name: request.name,
            scopes: request.scopes.unwrap_or_default(),
            metadata: request.metadata.unwrap_or_default(),
            expiry: request.expires_at.map(|Expiry(at)| RequestedExpiry::At(at)).or(after),
        }
    }
}

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl CreateKey {
    /// Create My Api Key
    ///
    /// Creates an API key for the current user. The secret is returned once, in `key`, and cannot be retrieved later.
    ///
    /// The owner, organization and issuer are taken from the credential. When called with an API key, the key needs
    /// `api-keys:write`; it cannot grant scopes it does not have or an expiry later than its own.
    ///
    /// An owner has a limited number of keys that are neither revoked nor deleted. Beyond it, the response is 409.
    ///
    /// Send `Idempotency-Key` (20 to 255 visible ASCII characters, such as a random UUID) to retry safely: within 24
    /// hours the same request returns the original response, including the secret, with `Idempotency-Replayed: true`. A
    /// different body returns 422.
    #[oai(path = "/", method = "post", operation_id = "create_my_api_key")]
    async fn create(
        &self,
        request: &Request,
        audited: Audited<Write>,
        Data(services): Data<&Arc<Services>>,
        /// Makes a retry safe: for 24 hours, the same value with the same body returns the original response. A value that
        /// cannot be guessed, such as a random UUID.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: IdempotencyKeyHeader,
        body: JsonRequest<ApiKeyCreateRequest>,
    ) -> Result<CreatedKeyResponse, ApiError<CreateKeyErrors>> {
        let key = idempotency_key.0;
        let saved = key.map(|key| services.keys.idempotent_request(&audited.caller, "create", &key, &body.bytes));
        let new = NewKey::from(body.value);
        let issued = services.keys.create(&audited.context(), &audited.caller.owner, new, saved).await?;
        Ok(created_response(request, issued))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::body::object_reader::parse_body;

    #[test]
    fn create_request_rejects_invalid_bodies() {
        for json in [
            r#"["n"]"#,
            r#"{"name":5}"#,
            r#"{"name":""}"#,
            r#"{"name":"a\nb"}"#,
            r#"{"name":"n","name":"m"}"#,
            r#"{"name":"n","owner":"o"}"#,
            r#"{"name":"n","scopes":["a b"]}"#,
            r#"{"name":"n","scopes":["a","a"]}"#,
            r#"{"scopes":[]}"#,
            r#"{"name":"n"} x"#,
            r#"{"name":null}"#,
        ] {
            assert!(parse_body::<ApiKeyCreateRequest>(json.as_bytes()).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn create_request_has_the_values_that_were_sent(name in ".{1,60}", scopes in prop::collection::btree_set("[a-z:]{1,9}", 0..4)) {
            let json = serde_json::json!({ "name": name, "scopes": scopes });
            let request = parse_body::<ApiKeyCreateRequest>(json.to_string().as_bytes()).ok();
            let validated = KeyName::new(&name).ok();
            prop_assert_eq!(request.as_ref().map(|request| &request.name), validated.as_ref());
            prop_assert_eq!(request.map(|request| request.scopes.unwrap().iter().count()), validated.map(|_| scopes.len()));
        }
    }
}
