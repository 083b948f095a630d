//! Request bodies that more than one operation takes.

use poem_openapi::Object;

use crate::http::body::object_reader::{FromObject, ObjectReader};
use crate::http::values::text::Reason;

/// The reason for a revocation.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ApiKeyRevokeRequest {
    /// Free-text reason, 1 to 255 characters, stored with the revocation.
    reason: Option<Reason>,
}

impl ApiKeyRevokeRequest {
    pub fn reason(self) -> Option<String> {
        self.reason.map(|Reason(text)| text)
    }
}

impl FromObject for ApiKeyRevokeRequest {
    const OPTIONAL: bool = true;

    fn from_object(fields: &mut ObjectReader) -> Option<Self> {
        Some(Self { reason: fields.optional("reason")? })
    }
}
