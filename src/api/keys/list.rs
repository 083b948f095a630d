//! Lists the current user's keys by page.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;
use uuid::Uuid;

use crate::api::auth::{Authorized, Read};
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::responses::{ApiKeyPage, page_response};
use crate::api::keys::schemas::Status;
use crate::api::tag::Tag;
use crate::http::params::cursor::Cursor;
use crate::http::params::limit::Limit;
use crate::http::route_spec::RouteSpec;
use crate::service::Services;
use crate::service::keys::{KeyFilter, KeyQuery};

pub struct ListKeys;

pub const LIST_KEYS_ROUTE: RouteSpec = RouteSpec::new("list_my_api_keys");

error_set!(ListKeysErrors: 400, 401, 403, 500, 503);

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl ListKeys {
    /// List my API keys
    ///
    /// Returns the current user's keys, newest first. Pagination is cursor-based, so results stay consistent while keys
    /// are created or revoked. A page reads a bounded number of keys, so one with a filter may be empty although more
    /// follow: continue until `next_cursor` is omitted. Deleted keys are not listed. When called with an API key, the
    /// key needs `api-keys:read`.
    #[oai(path = "/", method = "get", operation_id = "list_my_api_keys")]
    #[expect(clippy::too_many_arguments, reason = "one for each thing the operation takes from the request")]
    async fn list(
        &self,
        caller: Authorized<Read>,
        Data(services): Data<&Arc<Services>>,
        request: &Request,
        /// Maximum number of items.
        limit: Query<Option<Limit>>,
        /// `next_cursor` from the previous page.
        cursor: Query<Option<Cursor>>,
        /// Filter by current status.
        status: Query<Option<Status>>,
        /// Filter by name: every word must be a prefix of a word in the name (case-insensitive).
        #[oai(validator(max_length = 255))]
        q: Query<Option<String>>,
        /// Filter by the key that created them.
        created_by_key: Query<Option<Uuid>>,
    ) -> Result<ApiKeyPage, ApiError<ListKeysErrors>> {
        let filter = KeyFilter {
            status: status.0.map(Into::into),
            q: q.0,
            created_by_key: created_by_key.0,
            ..KeyFilter::default()
        };
        let query = KeyQuery { filter, after: cursor.0.map(|Cursor(id)| id), limit: limit.0.unwrap_or_default().0 };
        let page = services.keys.list(caller.own_keys(), &query).await?;
        Ok(page_response(request, page, services))
    }
}
