//! Request bodies that more than one operation takes.

use poem_openapi::Object;

use crate::http::body::object_reader::{FromObject, ObjectReader};
use crate::http::values::text::Reason;
use crate::service::keys::RevocationRequest;

/// The reason for a revocation, and what it includes.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ApiKeyRevokeRequest {
    /// Free-text reason with the rules of a name, stored with the revocation.
    reason: Option<Reason>,
    /// True to revoke the key's descendants, too: the keys that it created, those that they created, and so on, in one
    /// transaction. Defaults to the setting `--revoke-descendants`.
    descendants: Option<bool>,
}

impl From<ApiKeyRevokeRequest> for RevocationRequest {
    fn from(request: ApiKeyRevokeRequest) -> Self {
        Self { reason: request.reason.map(|Reason(text)| text), descendants: request.descendants }
    }
}

impl FromObject for ApiKeyRevokeRequest {
    const OPTIONAL: bool = true;

    fn from_object(fields: &mut ObjectReader) -> Option<Self> {
        let reason = fields.optional("reason");
        let descendants = fields.optional("descendants");
        Some(Self { reason: reason?, descendants: descendants? })
    }
}
