//! Keys: the operations on the current user's API keys.

pub mod requests;
pub mod schemas;

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use uuid::Uuid;

use crate::api::auth::{Authorized, Read, Write};
use crate::api::{BASE, Tag};
use crate::domain::access::AccessFilter;
use crate::domain::audit::AuditContext;
use crate::http::body::{JsonRequest, JsonResponse, PreserializedJson};
use crate::http::headers::{IdempotencyKey, IfMatch, entity_tag, next_link};
use crate::http::params::{Cursor, Limit};
use crate::http::problem::{Failure, may_fail};
use crate::http::request_context::AuditOrigin;
use crate::service::Service;
use crate::service::keys::{IssuedKey, KeyFilter, KeyPage, KeyQuery, NewKey};

use requests::{ApiKeyCreateRequest, ApiKeyRevokeRequest, ApiKeyRotateRequest, ApiKeyUpdateRequest};
use schemas::{ApiKey, ApiKeyCreateResponse, ApiKeyList, Deleted, Found, Issued, Listed, Status};

pub struct KeyOperations;

const READ: u32 = may_fail(&[400, 401, 403, 404, 412, 500, 503]);
const LIST: u32 = may_fail(&[400, 401, 403, 500, 503]);
const ISSUE: u32 = may_fail(&[400, 401, 403, 404, 408, 413, 415, 422, 500, 503]);
const CHANGE: u32 = may_fail(&[400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 500, 503]);
const ROTATE: u32 = may_fail(&[400, 401, 403, 404, 408, 409, 413, 415, 422, 500, 503]);
const END: u32 = may_fail(&[400, 401, 403, 404, 408, 413, 415, 422, 500, 503]);

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl KeyOperations {
    /// Create My Api Key
    ///
    /// Makes an API key for the current user. The secret, `key`, is in this answer only and cannot be retrieved again.
    ///
    /// Owner, organisation and issuer are those of the credential. A caller who is itself an API key needs the scope
    /// `api-keys:write`, grants no scope that it lacks, and no expiry beyond its own.
    ///
    /// With an `Idempotency-Key` header (22 to 255 visible ASCII characters that nobody can guess, such as a random UUID),
    /// the same request sent again within 24 hours by the same caller gets the same answer, secret included, with
    /// `Idempotency-Replayed: true`, and makes nothing new; with another body it is refused with 422.
    #[oai(path = "/", method = "post", operation_id = "create_my_api_key")]
    async fn create(
        &self,
        caller: Authorized<Write>,
        Data(service): Data<&Arc<Service>>,
        origin: AuditOrigin,
        name: IdempotencyKey,
        body: JsonRequest<ApiKeyCreateRequest>,
    ) -> Result<Issued, Failure<ISSUE>> {
        let audit = AuditContext { caller: &caller.0, origin: &origin.0, at: service.clock.now() };
        let request = name.0.map(|name| service.idempotent_request(&caller.0, "create", &name, &body.bytes));
        let new = NewKey::from(body.value);
        let issued = service.create_key(&audit, &caller.0.owner, new, request).await?;
        Ok(issued_answer(issued))
    }

    /// List my API keys
    ///
    /// The caller's keys, newest first, a page at a time. A page stays where it is while keys are made and revoked: the
    /// cursor is a place in the order, not a count. Deleted keys are not listed.
    #[oai(path = "/", method = "get", operation_id = "list_my_api_keys")]
    #[expect(clippy::too_many_arguments, reason = "one for each thing the operation takes from the request")]
    async fn list(
        &self,
        caller: Authorized<Read>,
        Data(service): Data<&Arc<Service>>,
        request: &Request,
        /// At most how many keys to answer.
        limit: Query<Option<Limit>>,
        /// Where to go on: the `next_cursor` of the page before.
        cursor: Query<Option<Cursor>>,
        /// Only keys that are this now.
        status: Query<Option<Status>>,
        /// Only keys whose name has words that begin with these, in any order, whatever their case.
        #[oai(validator(max_length = 255))]
        q: Query<Option<String>>,
    ) -> Result<Listed, Failure<LIST>> {
        let filter = KeyFilter { status: status.0.map(Into::into), q: q.0, ..KeyFilter::default() };
        let query = KeyQuery { filter, after: cursor.0.map(|Cursor(id)| id), limit: limit.0.unwrap_or_default().0 };
        let page = service.list_keys(AccessFilter::Owner(&caller.0.owner), &query).await?;
        Ok(listed(request, page, service))
    }

    /// Get one of my API keys
    ///
    /// With its live secrets, by which an owner sees whether an old one is still in use after a rotation. An id that is
    /// another owner's is answered exactly as one that never was. `ETag` names the key's revision; with an `If-Match`
    /// header that names another, the answer is 412.
    #[oai(path = "/:id", method = "get", operation_id = "get_my_api_key")]
    async fn get(
        &self,
        caller: Authorized<Read>,
        Data(service): Data<&Arc<Service>>,
        /// The key's id.
        id: Path<Uuid>,
        if_match: IfMatch,
    ) -> Result<Found, Failure<READ>> {
        let record = service.find_key(AccessFilter::Owner(&caller.0.owner), id.0).await?;
        if_match.0.check(&record.key)?;
        Ok(found(record, service))
    }

    /// Update one of my API keys
    ///
    /// A JSON merge patch (RFC 7396), as `application/json` or `application/merge-patch+json`: a member that is absent
    /// stays as it is, `null` clears. `enabled: false` makes the key unusable until it is `true` again. Only scopes that
    /// the key does not have yet must be the caller's to grant.
    ///
    /// With an `If-Match` header that holds the key's `ETag`, the change is made only if nobody else made one since;
    /// else the answer is 412. A revoked key cannot be changed: 409.
    #[oai(path = "/:id", method = "patch", operation_id = "update_my_api_key")]
    async fn update(
        &self,
        caller: Authorized<Write>,
        Data(service): Data<&Arc<Service>>,
        origin: AuditOrigin,
        /// The key's id.
        id: Path<Uuid>,
        if_match: IfMatch,
        body: JsonRequest<ApiKeyUpdateRequest>,
    ) -> Result<Found, Failure<CHANGE>> {
        let audit = AuditContext { caller: &caller.0, origin: &origin.0, at: service.clock.now() };
        let access = AccessFilter::Owner(&caller.0.owner);
        let record = service.update_key(&audit, access, id.0, body.value.into(), &if_match.0).await?;
        Ok(found(record, service))
    }

    /// Revoke one of my API keys
    ///
    /// Ends the key for good: no request that begins after this answer can use it. It stays listed and readable, and
    /// says when, by whom and why. Revoking again changes nothing.
    #[oai(path = "/:id/revoke", method = "post", operation_id = "revoke_my_api_key")]
    async fn revoke(
        &self,
        caller: Authorized<Write>,
        Data(service): Data<&Arc<Service>>,
        origin: AuditOrigin,
        /// The key's id.
        id: Path<Uuid>,
        body: JsonRequest<ApiKeyRevokeRequest>,
    ) -> Result<Found, Failure<END>> {
        let audit = AuditContext { caller: &caller.0, origin: &origin.0, at: service.clock.now() };
        let record =
            service.revoke_key(&audit, AccessFilter::Owner(&caller.0.owner), id.0, body.value.reason()).await?;
        Ok(found(record, service))
    }

    /// Delete one of my API keys
    ///
    /// Revokes the key, and it is gone for its owner: 404 from then on. The audit still knows of it.
    #[oai(path = "/:id", method = "delete", operation_id = "delete_my_api_key")]
    async fn delete(
        &self,
        caller: Authorized<Write>,
        Data(service): Data<&Arc<Service>>,
        origin: AuditOrigin,
        /// The key's id.
        id: Path<Uuid>,
    ) -> Result<Deleted, Failure<{ may_fail(&[400, 401, 403, 404, 500, 503]) }>> {
        let audit = AuditContext { caller: &caller.0, origin: &origin.0, at: service.clock.now() };
        service.delete_key(&audit, AccessFilter::Owner(&caller.0.owner), id.0).await?;
        Ok(Deleted::Deleted)
    }

    /// Rotate one of my API keys
    ///
    /// Gives the key a new secret, which is in this answer only. Id, scopes, expiry and history stay. The old secret
    /// lives on for `grace_seconds`, though never beyond the end it had; while it does, another rotation is refused
    /// with 409. So is the rotation of a key that is not active.
    ///
    /// An `Idempotency-Key` header works as it does when a key is created.
    #[oai(path = "/:id/rotate", method = "post", operation_id = "rotate_my_api_key")]
    async fn rotate(
        &self,
        caller: Authorized<Write>,
        Data(service): Data<&Arc<Service>>,
        origin: AuditOrigin,
        /// The key's id.
        id: Path<Uuid>,
        name: IdempotencyKey,
        body: JsonRequest<ApiKeyRotateRequest>,
    ) -> Result<Issued, Failure<ROTATE>> {
        let audit = AuditContext { caller: &caller.0, origin: &origin.0, at: service.clock.now() };
        let operation = format!("rotate {}", id.0);
        let request = name.0.map(|name| service.idempotent_request(&caller.0, &operation, &name, &body.bytes));
        let access = AccessFilter::Owner(&caller.0.owner);
        Ok(issued_answer(service.rotate_key(&audit, access, id.0, body.value.grace(), request).await?))
    }
}

pub fn listed(request: &Request, page: KeyPage, service: &Service) -> Listed {
    let next_cursor = page.next.map(|id| Cursor(id).to_string());
    let link = next_cursor.as_deref().map(|cursor| next_link(request, cursor));
    let now = service.clock.now();
    let items = page.keys.into_iter().map(|key| ApiKey::new(key, now)).collect();
    Listed::Listed(JsonResponse(ApiKeyList { items, next_cursor }), link)
}

pub fn found(record: crate::domain::api_key::KeyRecord, service: &Service) -> Found {
    let tag = entity_tag(&record.key);
    Found::Found(JsonResponse(ApiKey::with_secrets(record, service.clock.now())), tag)
}

fn issued_answer(issued: IssuedKey) -> Issued {
    let location = format!("{BASE}/auth/api-keys/{}", issued.key.id);
    let replayed = issued.replayed.then(|| "true".to_owned());
    let answer = PreserializedJson::from(&ApiKeyCreateResponse::from(issued));
    Issued::Issued(answer, location, "no-store".to_owned(), replayed)
}
