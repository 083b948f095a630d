//! List: the current user's keys, a page at a time.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;

use crate::api::auth::{Authorized, Read};
use crate::api::keys::responses::{ApiKeyPage, page_response};
use crate::api::keys::schemas::Status;
use crate::api::tag::Tag;
use crate::http::params::cursor::Cursor;
use crate::http::params::limit::Limit;
use crate::http::problem::{Failure, may_fail};
use crate::service::Service;
use crate::service::keys::{KeyFilter, KeyQuery};

pub struct ListKeys;

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl ListKeys {
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
    ) -> Result<ApiKeyPage, Failure<{ may_fail(&[400, 401, 403, 500, 503]) }>> {
        let filter = KeyFilter { status: status.0.map(Into::into), q: q.0, ..KeyFilter::default() };
        let query = KeyQuery { filter, after: cursor.0.map(|Cursor(id)| id), limit: limit.0.unwrap_or_default().0 };
        let page = service.list_keys(caller.own_keys(), &query).await?;
        Ok(page_response(request, page, service))
    }
}
