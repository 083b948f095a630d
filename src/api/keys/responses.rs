//! Responses that more than one operation on keys returns.

use poem::Request;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;
use uuid::Uuid;

use crate::api::keys::schemas::{ApiKey, example_key};
use crate::api::page::NextPage;
use crate::api::tag::BASE;
use crate::domain::api_key::{ApiKey as DomainKey, KeyRecord};
use crate::domain::list_page::ListPage;
use crate::domain::metadata::Metadata;
use crate::domain::scope::Scopes;
use crate::http::body::{JsonResponse, PreserializedJson};
use crate::http::headers::if_match::entity_tag;
use crate::http::headers::location::location;
use crate::http::values::text::example_secret;
use crate::http::values::time::Time;
use crate::service::Services;
use crate::service::keys::{IssuedKey, RevokedKey};

/// A key with a new secret: the deployment's prefix, an underscore, 43 base62 characters (208 random bits and the
/// creation time) and a 6-character checksum.
#[derive(Object, Serialize)]
#[oai(skip_serializing_if_is_none, example)]
pub struct ApiKeyCreateResponse {
    /// Id of the key (UUIDv7). It never changes.
    id: Uuid,
    /// The API key secret (shown only once)
    #[oai(validator(pattern = "^[a-z0-9]+(_[a-z0-9]+)*_[0-9A-Za-z]{49}$"))]
    key: String,
    /// Label, as stored.
    name: String,
    /// Creation time.
    created_at: Time,
    /// First characters of the secret, to recognize the key by.
    start: String,
    /// Last four characters of the secret.
    #[oai(validator(min_length = 4, max_length = 4))]
    last4: String,
    /// Key that created it. Omitted if a user did.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by_key: Option<Uuid>,
    /// Permissions of the key.
    scopes: Scopes,
    /// Caller-defined metadata.
    metadata: Metadata,
    /// Expiry time; the key is invalid from this instant. Omitted if the key does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Time>,
}

impl From<IssuedKey> for ApiKeyCreateResponse {
    fn from(IssuedKey { key, secret, replayed: _ }: IssuedKey) -> Self {
        // Without `..`, so that a new field must be returned here or listed among those that a client does not need in
        // this response.
        let DomainKey {
            id,
            created_by_key,
            name,
            scopes,
            metadata,
            start,
            last4,
            created_at,
            expires_at,
            owner: _,
            enabled: _,
            updated_at: _,
            revocation: _,
            deleted_at: _,
            revision: _,
        } = key;
        Self {
            id,
            key: secret.expose().to_owned(),
            name: name.as_str().to_owned(),
            created_at: Time(created_at),
            start,
            last4,
            created_by_key,
            scopes,
            metadata,
            expires_at: expires_at.map(Time),
        }
    }
}

impl Example for ApiKeyCreateResponse {
    fn example() -> Self {
        let secret = example_secret();
        IssuedKey { key: example_key(&secret), secret, replayed: false }.into()
    }
}

/// A page of keys, newest first.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ApiKeyList {
    /// Keys of this page. May be fewer than `limit`, or none, on any page.
    #[oai(validator(max_items = 100))]
    pub items: Vec<ApiKey>,
    /// Value of `cursor` for the next page. Omitted on the last page, and only there.
    pub next_cursor: Option<String>,
}

#[derive(ApiResponse)]
pub enum CreatedKeyResponse {
    /// Created
    #[oai(status = 201)]
    Created(
        PreserializedJson<ApiKeyCreateResponse>,
        /// URL of the key, relative to the request's URL (RFC 3986).
        #[oai(header = "Location")]
        String,
        /// Revision of the key, for `If-Match`.
        #[oai(header = "ETag")]
        String,
        /// Always `no-store`, so that no cache keeps the secret.
        #[oai(header = "Cache-Control")]
        String,
        /// `true` if this is the original response to an earlier request with the same `Idempotency-Key`.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
pub enum ApiKeyResponse {
    /// The key.
    #[oai(status = 200)]
    Key(
        JsonResponse<ApiKey>,
        /// Revision of the key, for `If-Match`.
        #[oai(header = "ETag")]
        String,
    ),
}

#[derive(ApiResponse)]
pub enum ApiKeyPage {
    /// A page of keys.
    #[oai(status = 200)]
    Page(
        JsonResponse<ApiKeyList>,
        /// URL of the next page, relative to the request's URL, as `<?...>; rel="next"` (RFC 8288). Omitted on the last page.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
pub enum NoContent {
    /// The key is revoked.
    #[oai(status = 204)]
    NoContent(
        /// Number of descendants that were revoked with the key. Omitted if they were not to be.
        #[oai(header = "Revoked-Descendants")]
        Option<u64>,
    ),
}

/// Builds the response of a list of keys.
pub fn page_response(request: &Request, page: ListPage<DomainKey>, services: &Services) -> ApiKeyPage {
    let NextPage { cursor: next_cursor, link } = NextPage::new(request, page.next);
    let now = services.now();
    let items = page.items.into_iter().map(|key| ApiKey::new(key, now)).collect();
    ApiKeyPage::Page(JsonResponse(ApiKeyList { items, next_cursor }), link)
}

/// Builds the response with one key, its active secrets and its `ETag`.
pub fn key_response(record: KeyRecord, services: &Services) -> ApiKeyResponse {
    let tag = entity_tag(record.key.revision);
    ApiKeyResponse::Key(JsonResponse(ApiKey::with_secrets(record, services.now())), tag)
}

/// Builds the response with a revoked key.
pub fn revoked_response(revoked: RevokedKey, services: &Services) -> ApiKeyResponse {
    let tag = entity_tag(revoked.record.key.revision);
    let key = ApiKey::with_secrets(revoked.record, services.now());
    ApiKeyResponse::Key(JsonResponse(key.with_revoked_descendants(revoked.revoked_descendants)), tag)
}

/// Builds the response without a body to the end of a key.
pub fn no_content(revoked: &RevokedKey) -> NoContent {
    NoContent::NoContent(revoked.revoked_descendants)
}

/// Builds the response with a new secret.
pub fn created_response(request: &Request, issued: IssuedKey) -> CreatedKeyResponse {
    let location = location(request, &format!("{BASE}/auth/api-keys/{}", issued.key.id));
    let tag = entity_tag(issued.key.revision);
    let replayed = issued.replayed.then(|| "true".to_owned());
    let body = PreserializedJson::from(&ApiKeyCreateResponse::from(issued));
    CreatedKeyResponse::Created(body, location, tag, "no-store".to_owned(), replayed)
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON;

    use super::*;

    #[test]
    fn create_response_is_serialized_as_documented() {
        let with_expiry = ApiKeyCreateResponse::example();
        let without_expiry = ApiKeyCreateResponse {
            expires_at: None,
            created_by_key: Some(Uuid::nil()),
            ..ApiKeyCreateResponse::example()
        };
        for response in [with_expiry, without_expiry] {
            assert_eq!(serde_json::to_string(&response).unwrap(), response.to_json_string());
        }
    }
}
