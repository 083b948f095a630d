//! Delete: revokes one of the current user's keys and hides it.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use uuid::Uuid;

use crate::api::Tag;
use crate::api::auth::{Authorized, Write};
use crate::api::keys::responses::NoContent;
use crate::domain::access::AccessFilter;
use crate::domain::audit::AuditContext;
use crate::http::problem::{Failure, may_fail};
use crate::http::request_context::AuditOrigin;
use crate::service::Service;

pub struct DeleteKey;

#[OpenApi(prefix_path = "/auth/api-keys/", tag = "Tag::ApiKeys")]
impl DeleteKey {
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
    ) -> Result<NoContent, Failure<{ may_fail(&[400, 401, 403, 404, 500, 503]) }>> {
        let audit = AuditContext { caller: &caller.0, origin: &origin.0, at: service.clock.now() };
        service.delete_key(&audit, AccessFilter::Owner(&caller.0.owner), id.0).await?;
        Ok(NoContent::NoContent)
    }
}
