//! Keys: the operations on the current user's API keys.

use poem::web::Data;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Object, OpenApi};
use uuid::Uuid;

use super::auth::{Authorized, Write};
use super::body::{FromMembers, JsonBody, Members};
use super::origin::RequestOrigin;
use super::problem::{Failure, may_fail};
use super::values::{Expiry, Lifetime, Time};
use super::{BASE, Tag};
use crate::domain::Broken;
use crate::domain::metadata::Metadata;
use crate::domain::name::KeyName;
use crate::domain::scope::Scopes;
use crate::service::Service;
use crate::service::keys::{CreatedKey, NewKey};

pub struct KeyOperations;

/// A key to be made.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none, example)]
struct ApiKeyCreateRequest {
    /// Human-readable label for the API key: 1 to 255 characters after trimming, none of them a control or format
    /// character. It is stored in Unicode normalization form C.
    name: KeyName,
    /// What the key may be used for: at most 100 scopes, each 1 to 100 of `a-z 0-9 : . _ - *`, matched exactly. Scopes
    /// that begin with `api-keys:` are this service's own and can be granted only by a caller who holds them.
    scopes: Option<Scopes>,
    /// An object of your own, at most 4096 bytes as JSON without white space; given back whenever the key is verified.
    metadata: Option<Metadata>,
    /// The first instant at which the key is no longer good: a time to come. Not together with `expires_in_seconds`.
    expires_at: Option<Expiry>,
    /// The same, as a number of seconds from now, up to a hundred years. Not together with `expires_at`.
    expires_in_seconds: Option<Lifetime>,
}

impl FromMembers for ApiKeyCreateRequest {
    fn from_members(members: &mut Members) -> Option<Self> {
        let name = members.required("name");
        let scopes = members.optional("scopes");
        let metadata = members.optional("metadata");
        let expires_at = members.optional("expires_at");
        let expires_in_seconds = members.optional("expires_in_seconds");
        if let (Some(Some(_)), Some(Some(_))) = (&expires_at, &expires_in_seconds) {
            members.break_rule("expires_in_seconds", &Broken::rule("must not stand together with expires_at"));
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
            name: KeyName::stored("example".into()),
            scopes: None,
            metadata: None,
            expires_at: None,
            expires_in_seconds: None,
        }
    }
}

/// A key just made, with its secret.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct ApiKeyCreateResponse {
    /// The key's id (a UUID of version 7), which never changes.
    id: Uuid,
    /// The API key secret (shown only once): the key's prefix, 43 random base62 characters and a checksum of 6.
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
    expires_at: Option<Time>,
}

impl From<CreatedKey> for ApiKeyCreateResponse {
    fn from(CreatedKey { key, secret }: CreatedKey) -> Self {
        Self {
            id: key.id,
            start: secret.start().to_owned(),
            last4: secret.last4().to_owned(),
            key: secret.expose().to_owned(),
            name: key.name.as_str().to_owned(),
            created_at: Time(key.created_at),
            scopes: key.scopes,
            metadata: key.metadata,
            expires_at: key.expires_at.map(Time),
        }
    }
}

#[derive(ApiResponse)]
enum Created {
    /// The key was made and is on the disk.
    #[oai(status = 201)]
    Created(
        JsonBody<ApiKeyCreateResponse>,
        /// Where the key is found from now on.
        #[oai(header = "Location")]
        String,
        /// Always `no-store`: no cache may keep the secret.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl KeyOperations {
    /// Create My Api Key
    ///
    /// Makes an API key for the current user. The secret, `key`, is in this answer only and cannot be retrieved again.
    ///
    /// Owner, organisation and issuer are those of the credential. A caller who is itself an API key needs the scope
    /// `api-keys:write`, grants no scope that it lacks, and no expiry beyond its own.
    #[oai(path = "/", method = "post", operation_id = "create_my_api_key")]
    async fn create(
        &self,
        caller: Authorized<Write>,
        Data(service): Data<&Service>,
        origin: RequestOrigin,
        body: JsonBody<ApiKeyCreateRequest>,
    ) -> Result<Created, Failure<{ may_fail(&[400, 401, 403, 404, 408, 413, 415, 422, 500, 503]) }>> {
        let JsonBody(request) = body;
        let from_now = request.expires_in_seconds.map(|Lifetime(lifetime)| service.clock.now() + lifetime);
        let new = NewKey {
            name: request.name,
            scopes: request.scopes.unwrap_or_default(),
            metadata: request.metadata.unwrap_or_default(),
            expires_at: request.expires_at.map(|Expiry(at)| at).or(from_now),
        };
        let created = service.create_key(&caller.0, new, origin.0).await?;
        let location = format!("{BASE}/auth/api-keys/{}", created.key.id);
        Ok(Created::Created(JsonBody(created.into()), location, "no-store".to_owned()))
    }
}
