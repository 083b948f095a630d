//! The key that authenticates the request: its holder can read and revoke it with no other credential.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use crate::api::auth::{ApiKeyOnly, Audited, Authorized};
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::responses::{ApiKeyResponse, NoContent, key_response, no_content};
use crate::api::tag::Tag;
use crate::domain::caller::{Caller, Credential};
use crate::domain::verdict::Verdict;
use crate::http::headers::if_match::IfMatch;
use crate::http::problem::Problem;
use crate::http::route_spec::RouteSpec;
use crate::service::keys::RevocationRequest;
use crate::service::{ServiceError, Services};

pub struct SelfOperations;

pub const GET_SELF_ROUTE: RouteSpec = RouteSpec::new("get_this_api_key");
pub const REVOKE_SELF_ROUTE: RouteSpec = RouteSpec::new("revoke_this_api_key");

error_set!(GetSelfErrors: 400, 401, 403, 412, 500, 503);
error_set!(RevokeSelfErrors: 400, 401, 403, 412, 500, 503);

#[OpenApi(prefix_path = "/auth/api-keys/self", tag = "Tag::ApiKeys")]
impl SelfOperations {
    /// Get the key that makes this request
    ///
    /// Returns the key used to authenticate. The key needs no scope. Access tokens return 403.
    #[oai(path = "/", method = "get", operation_id = "get_this_api_key")]
    async fn get(
        &self,
        caller: Authorized<ApiKeyOnly>,
        Data(services): Data<&Arc<Services>>,
        /// The key's `ETag`, from an earlier `GET` of the key: returns 412 if the key has changed since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
    ) -> Result<ApiKeyResponse, ApiError<GetSelfErrors>> {
        let record = services.keys.get(caller.own_keys(), id_of(&caller.0)?, &if_match.0).await.map_err(self_error)?;
        Ok(key_response(record, services))
    }

    /// Revoke the key that makes this request
    ///
    /// Revokes the key used to authenticate. Lets anyone who finds a leaked key disable it.
    #[oai(path = "/", method = "delete", operation_id = "revoke_this_api_key")]
    async fn revoke(
        &self,
        audited: Audited<ApiKeyOnly>,
        Data(services): Data<&Arc<Services>>,
        /// True to revoke the keys that it created, too, those that they created, and so on, in one transaction. Defaults
        /// to the setting `--revoke-descendants`.
        descendants: Query<Option<bool>>,
        /// The key's `ETag`, from a `GET` of the key: returns 412 and changes nothing if the key has changed since.
        #[oai(name = "If-Match")]
        if_match: IfMatch,
    ) -> Result<NoContent, ApiError<RevokeSelfErrors>> {
        let request = RevocationRequest { reason: Some("by the key itself".to_owned()), descendants: descendants.0 };
        let id = id_of(&audited.caller)?;
        let revoked = services.keys.revoke(&audited.context(), audited.own_keys(), id, request, &if_match.0).await;
        Ok(no_content(&revoked.map_err(self_error)?))
    }
}

/// A key that is deleted between its authentication and the operation is an invalid credential.
fn self_error(error: ServiceError) -> Problem {
    match error {
        ServiceError::NotFound => Problem::invalid_credential(Verdict::NotFound.as_str()),
        other => other.into(),
    }
}

fn id_of(caller: &Caller) -> Result<uuid::Uuid, Problem> {
    match caller.credential {
        Credential::Key { id, .. } => Ok(id),
        Credential::Token | Credential::Operator => Err(Problem::api_key_required()),
    }
}
