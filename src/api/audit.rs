//! Lists the audit events of the current user's keys, and the page that every list of events shares.

use std::sync::Arc;

use poem::Request;
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::types::Any;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::auth::{Authorized, Read};
use crate::api::enums::api_enum;
use crate::api::errors::{ApiError, error_set};
use crate::api::keys::schemas::Owner;
use crate::api::page::NextPage;
use crate::api::schema_rules::SchemaRules;
use crate::api::tag::Tag;
use crate::domain::access::AccessFilter;
use crate::domain::audit;
use crate::http::body::JsonResponse;
use crate::http::params::cursor::Cursor;
use crate::http::params::limit::Limit;
use crate::http::route_spec::RouteSpec;
use crate::http::values::time::Time;
use crate::service::audit::EventFilter;
use crate::service::{ServiceError, Services};

pub struct ListMyAuditEvents;

pub const LIST_EVENTS_ROUTE: RouteSpec = RouteSpec::new("list_my_audit_events");

error_set!(ListMyAuditEventsErrors: 400, 401, 403, 500, 503);

api_enum! {
    /// Change of a key, or its refusal, or the start or end of a bulk revocation.
    #[oai(rename_all = "snake_case")]
    pub enum Action = audit::Action {
        Created,
        Updated,
        Enabled,
        Disabled,
        Rotated,
        Revoked,
        Deleted,
        Refused,
        BulkRevocationStarted,
        BulkRevocationEnded,
    }
}

/// Actor of a change.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct AuditActor {
    /// `user` (access token), `key` (API key) or `operator` (command line).
    kind: String,
    /// Issuer of the user, or of the key's owner.
    issuer: String,
    /// User, or the key's owner.
    subject: String,
    /// Acting key, if any.
    key_id: Option<Uuid>,
}

/// One change of one key, or its refusal, or the start or end of a bulk revocation.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct AuditEvent {
    /// Id of the event. Ids sort by time.
    id: Uuid,
    /// Time of the request.
    at: Time,
    /// Kind of change: `created`, `updated`, `enabled`, `disabled`, `rotated`, `revoked` or `deleted`. `refused`
    /// if the caller lacked a scope or the lifetime for it, so that nothing changed. `bulk_revocation_started` and
    /// `bulk_revocation_ended` for a bulk revocation as a whole.
    action: String,
    /// Actor.
    actor: AuditActor,
    /// Changed key. Omitted if its creation was refused, and for a bulk revocation.
    key_id: Option<Uuid>,
    /// Owner of the key; of a bulk revocation, who requested it.
    owner: Owner,
    /// Id of the request.
    request_id: String,
    /// Address of the client. Omitted for the command line.
    client_address: Option<String>,
    /// `User-Agent` of the client, if sent.
    user_agent: Option<String>,
    /// Changed fields with their new values. If refused, the `operation` with `missing_scope`, or with `key_expires_at`
    /// and the earlier `caller_expires_at`. Of a bulk revocation, its `job_id`, which the events of the keys that it
    /// revoked have, too. Never contains secrets.
    changes: Any<Value>,
}

impl SchemaRules for AuditEvent {
    fn amend(schema: &mut Value) {
        schema["properties"]["changes"]["type"] = json!("object");
        schema["properties"]["changes"]["additionalProperties"] = json!(true);
    }
}

impl From<audit::Actor> for AuditActor {
    fn from(actor: audit::Actor) -> Self {
        let audit::Actor { kind, issuer, subject, key_id } = actor;
        Self { kind, issuer, subject, key_id }
    }
}

impl From<audit::AuditEvent> for AuditEvent {
    fn from(event: audit::AuditEvent) -> Self {
        Self {
            id: event.id,
            at: Time(event.at),
            action: event.action,
            actor: event.actor.into(),
            key_id: event.key_id,
            owner: event.owner.into(),
            request_id: event.request_id,
            client_address: event.client_address,
            user_agent: event.user_agent,
            changes: Any(event.changes),
        }
    }
}

/// A page of events, newest first.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct AuditEventList {
    /// Events of this page. May be fewer than `limit`, or none, on any page.
    #[oai(validator(max_items = 100))]
    items: Vec<AuditEvent>,
    /// Value of `cursor` for the next page. Omitted on the last page, and only there.
    next_cursor: Option<String>,
}

#[derive(ApiResponse)]
pub enum AuditEventPage {
    /// A page of events.
    #[oai(status = 200)]
    Page(
        JsonResponse<AuditEventList>,
        /// URL of the next page, relative to the request's URL, as `<?...>; rel="next"` (RFC 8288). Omitted on the last page.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

/// The query parameters of every list of events.
pub struct EventQuery {
    pub key_id: Option<Uuid>,
    pub actor_key_id: Option<Uuid>,
    pub action: Option<Action>,
    pub cursor: Option<Cursor>,
    pub limit: Option<Limit>,
}

#[OpenApi(tag = "Tag::Audit")]
impl ListMyAuditEvents {
    /// List my audit events
    ///
    /// Returns the changes of the current user's keys, including deleted ones, and the refused ones, newest first. A
    /// page reads a bounded number of events, so one with a filter may be empty although more follow: continue until
    /// `next_cursor` is omitted. When called with an API key, the key needs `api-keys:read`.
    #[oai(path = "/auth/audit-events", method = "get", operation_id = "list_my_audit_events")]
    #[expect(clippy::too_many_arguments, reason = "one for each thing the operation takes from the request")]
    async fn mine(
        &self,
        caller: Authorized<Read>,
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
    ) -> Result<AuditEventPage, ApiError<ListMyAuditEventsErrors>> {
        let query = EventQuery {
            key_id: key_id.0,
            actor_key_id: actor_key_id.0,
            action: action.0,
            cursor: cursor.0,
            limit: limit.0,
        };
        Ok(event_page(request, services, caller.own_keys(), query).await?)
    }
}

/// Reads a page of the events that `access` admits.
pub async fn event_page(
    request: &Request,
    services: &Services,
    access: AccessFilter<'_>,
    query: EventQuery,
) -> Result<AuditEventPage, ServiceError> {
    let filter =
        EventFilter { key_id: query.key_id, actor_key_id: query.actor_key_id, action: query.action.map(Into::into) };
    let after = query.cursor.map(|Cursor(id)| id);
    let page = services.audit.list(access, &filter, after, query.limit.unwrap_or_default().0).await?;
    let NextPage { cursor: next_cursor, link } = NextPage::new(request, page.next);
    let items = page.items.into_iter().map(AuditEvent::from).collect();
    Ok(AuditEventPage::Page(JsonResponse(AuditEventList { items, next_cursor }), link))
}
