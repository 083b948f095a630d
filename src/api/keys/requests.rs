//! Requests: bodies that more than one operation takes.

use poem_openapi::Object;

use crate::http::body::object_reader::{FromObject, ObjectReader};
use crate::http::values::text::Reason;

/// Why a key is revoked.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none)]
pub struct ApiKeyRevokeRequest {
    /// For whoever asks later: 1 to 255 characters, by the rules of a name.
    reason: Option<Reason>,
}

impl ApiKeyRevokeRequest {
    pub fn reason(self) -> Option<String> {
        self.reason.map(|Reason(text)| text)
    }
}

impl FromObject for ApiKeyRevokeRequest {
    const OPTIONAL: bool = true;

    fn from_object(members: &mut ObjectReader) -> Option<Self> {
        Some(Self { reason: members.optional("reason")? })
    }
}
