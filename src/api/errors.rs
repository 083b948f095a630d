//! Errors: the error statuses that each operation declares, and how errors of the service become problems.
//!
//! The document lists the declared statuses. The pipeline checks them for every error of an operation, whether its handler
//! returned it, an extractor of its arguments, or the pipeline itself.

use std::marker::PhantomData;
use std::time::Duration;

use chrono::TimeDelta;
use poem::http::StatusCode;
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;
use serde_json::Value;

use crate::api::oauth::problem::{UNSUPPORTED_TOKEN_TYPE, signed_response_only};
use crate::domain::authority::MissingRight;
use crate::domain::precondition::PreconditionFailure;
use crate::http::headers::if_match::entity_tag;
use crate::http::problem::{JSON, PROBLEM_JSON, Problem, ProblemDetail, Violation};
use crate::service::{ConflictReason, Outage, ServiceError};

/// A status that an operation may declare. Another one does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorStatus {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    NotAcceptable,
    RequestTimeout,
    Conflict,
    PreconditionFailed,
    PayloadTooLarge,
    UnsupportedMediaType,
    UnprocessableEntity,
    InternalServerError,
    ServiceUnavailable,
}

impl ErrorStatus {
    const ALL: [Self; 13] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::UnprocessableEntity,
        Self::InternalServerError,
        Self::ServiceUnavailable,
    ];

    pub fn from_code(code: StatusCode) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.code() == code)
    }

    pub const fn code(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UnprocessableEntity => StatusCode::UNPROCESSABLE_ENTITY,
            Self::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ServiceUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::BadRequest => "Malformed JSON or query.",
            Self::Unauthorized => "The credential is missing, malformed, expired or unknown.",
            Self::Forbidden => "The caller lacks a required scope, or expires before the key; see `type`.",
            Self::NotFound => "Not found, or owned by someone else.",
            Self::NotAcceptable => "`Accept` admits only a signed response (RFC 9701).",
            Self::RequestTimeout => "The body did not arrive in time.",
            Self::Conflict => {
                "Conflicts with the state of the key, or with the number of the owner's keys; see `type`."
            }
            Self::PreconditionFailed => "`If-Match` does not match the current revision.",
            Self::PayloadTooLarge => "The body exceeds 64 KiB.",
            Self::UnsupportedMediaType => "The `Content-Type` is not supported.",
            Self::UnprocessableEntity => {
                "The body is invalid, see `errors`; or its `Idempotency-Key` was used with another body."
            }
            Self::InternalServerError => "Internal error.",
            Self::ServiceUnavailable => "Temporarily unavailable.",
        }
    }

    /// Names and descriptions of the headers that come with the status.
    const fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Unauthorized => &[("WWW-Authenticate", "The accepted scheme and the error (RFC 6750).")],
            Self::Forbidden => &[("WWW-Authenticate", "The missing scope (RFC 6750).")],
            Self::ServiceUnavailable => &[("Retry-After", "Seconds to wait before retrying.")],
            _ => &[],
        }
    }

    /// Returns a body with this status, for the document.
    pub fn example(self) -> Value {
        let problem = match self {
            Self::BadRequest => Problem::bad_request("The body is not well-formed JSON: look at line 1, column 9."),
            Self::Unauthorized => Problem::invalid_credential(""),
            Self::Forbidden => Problem::insufficient_scope("api-keys:write"),
            Self::NotFound => Problem::not_found(),
            Self::NotAcceptable => signed_response_only(),
            Self::RequestTimeout => Problem::body_timeout(Duration::from_secs(30)),
            Self::Conflict => ServiceError::Conflict(ConflictReason::RotationInProgress(None)).into(),
            Self::PreconditionFailed => PreconditionFailure::OtherRevision(2).into(),
            Self::PayloadTooLarge => Problem::body_too_large(70_000),
            Self::UnsupportedMediaType => Problem::unsupported_media_type(
                "Send the body as JSON, with `Content-Type: application/json`, not \"text/plain\".",
            ),
            Self::UnprocessableEntity => Problem::unprocessable(vec![Violation::new("/name", "is required")]),
            Self::InternalServerError => Problem::internal(""),
            Self::ServiceUnavailable => ServiceError::Unavailable(String::new()).into(),
        };
        problem.into_json(EXAMPLE_REQUEST_ID)
    }

    /// The kinds of problem beside `about:blank` that have this status: the slug of each `type`, and its meaning.
    pub fn problem_types(self) -> Vec<(&'static str, String)> {
        let fixed = |(slug, meaning): (&'static str, &str)| vec![(slug, meaning.to_owned())];
        match self {
            Self::BadRequest => fixed(UNSUPPORTED_TOKEN_TYPE),
            Self::Conflict => ConflictReason::ALL.map(|reason| (reason.code(), reason.message())).into(),
            Self::Forbidden => fixed(KEY_OUTLIVES_CALLER),
            Self::PreconditionFailed => fixed(ETAG_ALTERED),
            Self::UnprocessableEntity => fixed(IDEMPOTENCY_KEY_REUSED),
            _ => Vec::new(),
        }
    }

    fn meta(self) -> MetaResponse {
        let header = |&(name, description): &(&str, &str)| MetaHeader {
            name: name.to_owned(),
            description: Some(description.to_owned()),
            required: true,
            deprecated: false,
            schema: String::schema_ref(),
        };
        let content = |content_type| MetaMediaType { content_type, schema: ProblemDetail::schema_ref() };
        MetaResponse {
            description: self.description(),
            status: Some(self.code().as_u16()),
            status_range: None,
            content: vec![content(PROBLEM_JSON), content(JSON)],
            headers: self.headers().iter().map(header).collect(),
        }
    }
}

/// The reason, for the log, of a request whose key ended after it was authenticated.
pub const CALLER_ENDED: &str = "ended";

/// The request id in examples.
pub const EXAMPLE_REQUEST_ID: &str = "0199b3a0-5b7c-7d21-a3f4-9e0c6a1d2b83";

/// The problem type of a change that would let a key outlive the key that makes it, and what to do.
const KEY_OUTLIVES_CALLER: (&str, &str) =
    ("key-outlives-caller", "Use a user's token, or a key that expires no earlier than the other one.");

/// The problem type of a reused `Idempotency-Key`, and its detail.
const IDEMPOTENCY_KEY_REUSED: (&str, &str) =
    ("idempotency-key-reused", "This Idempotency-Key was used with another body; send the same body, or a new key.");

/// The problem type of an entity tag that a proxy altered, and its meaning.
const ETAG_ALTERED: (&str, &str) = (
    "etag-altered",
    "A proxy weakened or renamed the ETag when it compressed the response; disable compression of this path in the \
     proxy, or send the ETag as the server made it.",
);

/// The error statuses of one operation. [`error_set!`] declares one.
pub trait ErrorSet: Send + Sync + 'static {
    const STATUSES: &'static [ErrorStatus];
}

/// Declares a type with the error statuses of an operation: `error_set!(GetKeyErrors: 401, 404, 500)`.
macro_rules! error_set {
    ($name:ident: $($status:tt),+ $(,)?) => {
        enum $name {}

        impl $crate::api::errors::ErrorSet for $name {
            const STATUSES: &'static [$crate::api::errors::ErrorStatus] = &[$($crate::api::errors::error_status!($status)),+];
        }
    };
}

macro_rules! error_status {
    (400) => {
        $crate::api::errors::ErrorStatus::BadRequest
    };
    (401) => {
        $crate::api::errors::ErrorStatus::Unauthorized
    };
    (403) => {
        $crate::api::errors::ErrorStatus::Forbidden
    };
    (404) => {
        $crate::api::errors::ErrorStatus::NotFound
    };
    (406) => {
        $crate::api::errors::ErrorStatus::NotAcceptable
    };
    (408) => {
        $crate::api::errors::ErrorStatus::RequestTimeout
    };
    (409) => {
        $crate::api::errors::ErrorStatus::Conflict
    };
    (412) => {
        $crate::api::errors::ErrorStatus::PreconditionFailed
    };
    (413) => {
        $crate::api::errors::ErrorStatus::PayloadTooLarge
    };
    (415) => {
        $crate::api::errors::ErrorStatus::UnsupportedMediaType
    };
    (422) => {
        $crate::api::errors::ErrorStatus::UnprocessableEntity
    };
    (500) => {
        $crate::api::errors::ErrorStatus::InternalServerError
    };
    (503) => {
        $crate::api::errors::ErrorStatus::ServiceUnavailable
    };
}

pub(in crate::api) use {error_set, error_status};

/// An error of an operation that declares the statuses `E`. The document lists them from here.
pub struct ApiError<E>(Problem, PhantomData<E>);

impl<E: ErrorSet, T: Into<Problem>> From<T> for ApiError<E> {
    fn from(error: T) -> Self {
        Self(error.into(), PhantomData)
    }
}

impl<E> From<ApiError<E>> for poem::Error {
    fn from(error: ApiError<E>) -> Self {
        error.0.into()
    }
}

impl<E: ErrorSet> ApiResponse for ApiError<E> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: E::STATUSES.iter().map(|status| status.meta()).collect() }
    }

    fn register(registry: &mut Registry) {
        ProblemDetail::register(registry);
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(errors) => Self::unprocessable(
                errors.into_iter().map(|(pointer, rule)| Violation::new(pointer, rule.to_string())).collect(),
            ),
            ServiceError::NotFound => Self::not_found(),
            ServiceError::CallerEnded => Self::invalid_credential(CALLER_ENDED),
            ServiceError::PreconditionFailed(failure) => failure.into(),
            ServiceError::Conflict(reason) => {
                Self::new(StatusCode::CONFLICT, reason.message()).with_type(reason.code())
            }
            ServiceError::IdempotencyKeyReused => Self::new(StatusCode::UNPROCESSABLE_ENTITY, IDEMPOTENCY_KEY_REUSED.1)
                .with_type(IDEMPOTENCY_KEY_REUSED.0),
            ServiceError::MissingRight(MissingRight::Scope(scope)) => Self::insufficient_scope(scope.as_str()),
            ServiceError::MissingRight(MissingRight::ScopeOfToken(scope)) => Self::cannot_grant(scope.as_str()),
            ServiceError::MissingRight(right @ MissingRight::Lifetime { .. }) => {
                Self::forbidden(format!("The calling key is too short-lived: {right}. {}", KEY_OUTLIVES_CALLER.1))
                    .with_type(KEY_OUTLIVES_CALLER.0)
            }
            ServiceError::Unavailable(reason) => Self::unavailable("The database is unavailable; retry later.", 1)
                .with_reason(Outage::Database.as_str())
                .with_log_context(reason),
            ServiceError::StoreRejected { rejection, reason } => {
                Self::unavailable(format!("The database {}; retry later.", rejection.message()), 1)
                    .with_reason(Outage::DatabaseChanges.as_str())
                    .with_log_context(reason)
            }
            ServiceError::IssuerUnavailable { reason, retry_after } => Self::unavailable(
                "The keys of the token's issuer cannot be fetched or used, so the token could not be checked; retry later.",
                whole_seconds(retry_after),
            )
            .with_reason(Outage::IssuerKeys.as_str())
            .with_log_context(reason),
            ServiceError::IssuerKeyNotFetched { reason, retry_after } => {
                let seconds = whole_seconds(retry_after);
                let detail = format!(
                    "The token's `kid` is not among the keys of its issuer as last fetched. They can be fetched again in \
                     {seconds} s; retry then."
                );
                Self::unavailable(detail, seconds).with_reason(Outage::IssuerKey.as_str()).with_log_context(reason)
            }
            ServiceError::Internal(reason) => Self::internal(reason),
        }
    }
}

impl From<PreconditionFailure> for Problem {
    fn from(failure: PreconditionFailure) -> Self {
        match failure {
            PreconditionFailure::OtherRevision(current) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                format!(
                    "If-Match does not contain the key's ETag, which is now {}; get the key, check what has changed, and \
                     send its ETag.",
                    entity_tag(current)
                ),
            ),
            PreconditionFailure::AlteredTag(tag) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                format!("If-Match contains {tag}, which is not as the server made it. {}", ETAG_ALTERED.1),
            )
            .with_type(ETAG_ALTERED.0),
        }
    }
}

/// Rounds up, so that a client that waits as long does not come too early.
fn whole_seconds(time: TimeDelta) -> u32 {
    let seconds = time.num_milliseconds().div_euclid(1000) + i64::from(time.num_milliseconds() % 1000 != 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::auth::HeaderFault;
    use crate::domain::verdict::Verdict;
    use crate::http::cors::ORIGIN_NOT_ALLOWED;
    use crate::http::error_reason::ErrorReason;
    use crate::service::issuer::rejection::TokenFault;

    error_set!(ReadErrors: 401, 404, 500);

    #[test]
    fn whole_seconds_rounds_up_to_one_at_least() {
        for (milliseconds, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (29_999, 30)] {
            assert_eq!(whole_seconds(TimeDelta::milliseconds(milliseconds)), seconds);
        }
    }

    #[test]
    fn document_lists_the_declared_statuses() {
        let listed: Vec<_> = ApiError::<ReadErrors>::meta().responses.iter().map(|response| response.status).collect();
        assert_eq!(listed, [Some(401), Some(404), Some(500)]);
    }

    /// Every code that a log line can have as its reason.
    fn reasons() -> BTreeSet<&'static str> {
        let types = ErrorStatus::ALL.into_iter().flat_map(ErrorStatus::problem_types).map(|(slug, _)| slug);
        let keys =
            Verdict::ALL.into_iter().filter(|verdict| !matches!(verdict, Verdict::Valid | Verdict::InsufficientScope));
        let mut reasons: BTreeSet<_> = types.chain(keys.map(Verdict::as_str)).collect();
        reasons.extend(ErrorReason::ALL.map(ErrorReason::as_str));
        reasons.extend(HeaderFault::ALL.map(HeaderFault::as_str));
        reasons.extend(TokenFault::ALL.map(TokenFault::as_str));
        reasons.extend(Outage::ALL.map(Outage::as_str));
        reasons.extend([CALLER_ENDED, ORIGIN_NOT_ALLOWED]);
        reasons
    }

    #[test]
    fn troubleshooting_has_the_cure_of_every_reason_and_no_other() {
        let page = include_str!("../../docs/troubleshooting.md");
        let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        let codes = cells.flat_map(|cell| cell.split(", ").map(|code| code.trim_matches('`')));
        let is_code = |code: &&str| code.bytes().all(|byte| byte.is_ascii_alphabetic() || b"_-".contains(&byte));
        let codes = codes.map(|code| code.trim_start_matches("urn:mintkey:problem:"));
        let listed: BTreeSet<_> = codes.filter(is_code).filter(|code| !code.starts_with('-')).collect();
        assert_eq!(listed, reasons());
    }
}
