//! Lists the audit events of all keys.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Query;
use uuid::Uuid;

use crate::api::audit::{Action, AuditEventPage, EventQuery, event_page};
use crate::api::auth::{Admin, Authorized};
use crate::api::errors::{ApiError, error_set};
use crate::api::tag::Tag;
use crate::http::params::cursor::Cursor;
use crate::http::params::limit::Limit;
use crate::http::route_spec::RouteSpec;
use crate::service::Services;

pub struct ListAllAuditEvents;

pub const LIST_ALL_EVENTS_ROUTE: RouteSpec = RouteSpec::new("list_all_audit_events");

error_set!(ListAllAuditEventsErrors: 400, 401, 403, 500, 503);

#[OpenApi(tag = "Tag::Audit")]
impl ListAllAuditEvents {
    /// List all audit events
    ///
    /// Returns the changes of the keys of all owners that the administrator reaches, newest first. A page reads a bounded
    /// number of events, so one with a filter may be empty although more follow: continue until `next_cursor` is
    /// omitted. Requires `api-keys:admin`.
    #[oai(path = "/admin/audit-events", method = "get", operation_id = "list_all_audit_events")]
    #[expect(clippy::too_many_arguments, reason = "one for each thing the operation takes from the request")]
    async fn all(
        &self,
        caller: Authorized<Admin>,
        Data(services): Data<&Arc<Services>>,
        request: &Request,
        /// Maximum number of items.
        limit: Query<Option<Limit>>,
        /// `next_cursor` from the previous page.
        cursor: Query<Option<Cursor>>,
        /// Filter by key id.
        key_id: Query<Option<Uuid>>,
        /// Filter by the key that made the change.
        actor_key_id: Query<Option<Uuid>>,
        /// Filter by action.
        action: Query<Option<Action>>,
    ) -> Result<AuditEventPage, ApiError<ListAllAuditEventsErrors>> {
        let query = EventQuery {
            key_id: key_id.0,
            actor_key_id: actor_key_id.0,
            action: action.0,
            cursor: cursor.0,
            limit: limit.0,
        };
        Ok(event_page(request, services, caller.administered_keys(), query).await?)
    }
}
