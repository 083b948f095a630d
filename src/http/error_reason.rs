//! ErrorReason: why a request is refused, as a stable code for the log, where no other code says it.
//!
//! Other codes are those of credentials, of outages, and the problem types. docs/troubleshooting.md has the cure of each.

use poem::http::StatusCode;

use crate::domain::text_enum::text_enum;

text_enum! {
    /// The reasons that hold for many operations.
    pub enum ErrorReason {
        BadRequest = "bad_request",
        MissingCredential = "missing_credential",
        InsufficientScope = "insufficient_scope",
        /// A token would put a scope on a key that it does not have.
        CannotGrant = "cannot_grant",
        ApiKeyRequired = "api_key_required",
        NotFound = "not_found",
        MethodNotAllowed = "method_not_allowed",
        BodyTimeout = "body_timeout",
        Conflict = "conflict",
        PreconditionFailed = "precondition_failed",
        BodyTooLarge = "body_too_large",
        UnsupportedMediaType = "unsupported_media_type",
        InvalidBody = "invalid_body",
        InternalError = "internal_error",
        /// A limit is reached.
        Busy = "busy",
        /// A probe of readiness failed.
        NotReady = "not_ready",
        /// The head of the request is not HTTP, or too large.
        UnreadableHead = "unreadable_head",
        /// The client left before the response.
        ConnectionClosed = "connection_closed",
    }
}

impl ErrorReason {
    /// The reason of an error that has no other one.
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::MissingCredential,
            StatusCode::FORBIDDEN => Self::InsufficientScope,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::BodyTimeout,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::PRECONDITION_FAILED => Self::PreconditionFailed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::UNPROCESSABLE_ENTITY => Self::InvalidBody,
            StatusCode::SERVICE_UNAVAILABLE => Self::Busy,
            status if status.is_server_error() => Self::InternalError,
            _ => Self::BadRequest,
        }
    }
}
