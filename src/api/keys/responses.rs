//! Responses: those that more than one operation on keys gives.

use poem::Request;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;
use uuid::Uuid;

use crate::api::keys::schemas::{ApiKey, example_key, example_secret};
use crate::api::page::NextPage;
use crate::api::tag::BASE;
use crate::domain::api_key::KeyRecord;
use crate::domain::metadata::Metadata;
use crate::domain::scope::Scopes;
use crate::http::body::{JsonResponse, PreserializedJson};
use crate::http::headers::if_match::entity_tag;
use crate::http::values::time::Time;
use crate::service::Service;
use crate::service::keys::{IssuedKey, KeyPage};

/// A key with a new secret: the deployment's prefix, 43 base62 characters that nobody can guess and a checksum of 6.
#[derive(Object, Serialize)]
#[oai(skip_serializing_if_is_none, example)]
pub struct ApiKeyCreateResponse {
    /// The key's id (a UUID of version 7), which never changes.
    id: Uuid,
    /// The API key secret (shown only once)
    #[oai(validator(pattern = "^[a-z0-9]+(_[a-z0-9]+)*_[0-9A-Za-z]{49}$"))]
    key: String,
    /// The label, as it is stored.
    name: String,
    /// When the key was made.
    created_at: Time,
    /// What the secret begins with: enough to tell keys apart later.
    start: String,
    /// The secret's last four characters.
    #[oai(validator(min_length = 4, max_length = 4))]
    last4: String,
    /// What the key may be used for.
    scopes: Scopes,
    /// Your own object.
    metadata: Metadata,
    /// The first instant at which the key is no longer good; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Time>,
}

impl From<IssuedKey> for ApiKeyCreateResponse {
    fn from(IssuedKey { key, secret, .. }: IssuedKey) -> Self {
        Self {
            id: key.id,
            key: secret.expose().to_owned(),
            name: key.name.as_str().to_owned(),
            created_at: Time(key.created_at),
            start: key.start,
            last4: key.last4,
            scopes: key.scopes,
            metadata: key.metadata,
            expires_at: key.expires_at.map(Time),
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
    /// The keys.
    #[oai(validator(max_items = 100))]
    pub items: Vec<ApiKey>,
    /// What to send as `cursor` for the next page; absent on the last.
    pub next_cursor: Option<String>,
}

#[derive(ApiResponse)]
pub enum CreatedKeyResponse {
    /// Created
    #[oai(status = 201)]
    Created(
        PreserializedJson<ApiKeyCreateResponse>,
        /// Where the key is found from now on.
        #[oai(header = "Location")]
        String,
        /// Always `no-store`: no cache may keep the secret.
        #[oai(header = "Cache-Control")]
        String,
        /// `true` when this is the answer to an earlier request with the same `Idempotency-Key`.
        #[oai(header = "Idempotency-Replayed")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
pub enum ApiKeyResponse {
    /// The key, as it is now.
    #[oai(status = 200)]
    Key(
        JsonResponse<ApiKey>,
        /// The key's revision, for `If-Match`.
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
        /// The next page, as `<...>; rel="next"` (RFC 8288); absent on the last.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
pub enum NoContent {
    /// The key is revoked and gone.
    #[oai(status = 204)]
    NoContent,
}

pub fn page_response(request: &Request, page: KeyPage, service: &Service) -> ApiKeyPage {
    let NextPage { cursor: next_cursor, link } = NextPage::new(request, page.next);
    let now = service.clock.now();
    let items = page.keys.into_iter().map(|key| ApiKey::new(key, now)).collect();
    ApiKeyPage::Page(JsonResponse(ApiKeyList { items, next_cursor }), link)
}

pub fn key_response(record: KeyRecord, service: &Service) -> ApiKeyResponse {
    let tag = entity_tag(&record.key);
    ApiKeyResponse::Key(JsonResponse(ApiKey::with_secrets(record, service.clock.now())), tag)
}

pub fn created_response(issued: IssuedKey) -> CreatedKeyResponse {
    let location = format!("{BASE}/auth/api-keys/{}", issued.key.id);
    let replayed = issued.replayed.then(|| "true".to_owned());
    let body = PreserializedJson::from(&ApiKeyCreateResponse::from(issued));
    CreatedKeyResponse::Created(body, location, "no-store".to_owned(), replayed)
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON;

    use super::*;

    #[test]
    fn the_answer_to_a_create_is_written_as_the_document_describes_it() {
        let ends = ApiKeyCreateResponse::example();
        let endless = ApiKeyCreateResponse { expires_at: None, ..ApiKeyCreateResponse::example() };
        for answer in [ends, endless] {
            assert_eq!(serde_json::to_string(&answer).unwrap(), answer.to_json_string());
        }
    }
}
