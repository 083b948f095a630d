//! Problem: the one shape of every answer that is not 2xx (RFC 9457).

use std::fmt;

use poem::error::ResponseError;
use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Body, Response};
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Object};

use crate::api::health;
use crate::service::ServiceError;
use crate::service::readiness::Check;

pub const PROBLEM_JSON: &str = "application/problem+json";
pub const JSON: &str = "application/json";

/// What went wrong, and what to change (RFC 9457).
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ProblemDetail {
    /// What kind of problem it is: `about:blank` where the status says all, else a `urn:mintkey:problem:` name that a
    /// client can act on.
    #[oai(rename = "type")]
    kind: Option<String>,
    /// The kind in a few words; for `about:blank` the name of the status.
    title: String,
    /// The HTTP status of this answer.
    #[oai(validator(minimum(value = "400"), maximum(value = "599")))]
    status: u16,
    /// What to change, for this request. Never holds a credential.
    detail: String,
    /// On 422: every member that breaks a rule.
    errors: Option<Vec<Violation>>,
    /// The id of the request in the service's log.
    request_id: Option<String>,
}

/// A rule that a member of the body breaks.
#[derive(Object, Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where: a JSON pointer (RFC 6901); the empty one is the body itself.
    pub pointer: String,
    /// The rule.
    pub detail: String,
}

impl Violation {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// A problem on its way out. Its `detail` is shown to the client; its `cause` only to the log.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// What follows `urn:mintkey:problem:`, where a client can act on the difference.
    slug: Option<&'static str>,
    /// Boxed, as a failure is handed through many results.
    detail: Box<str>,
    errors: Vec<Violation>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What `/readyz` looked at, for its answer alone.
    checks: Option<Box<serde_json::Value>>,
    pub cause: Option<String>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let (errors, headers, checks, cause) = Default::default();
        Self { status, slug: None, detail: detail.into().into(), errors, headers, checks, cause }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// RFC 6750, section 3: an error code only when a credential came.
    pub fn unauthorized(credential_came: bool) -> Self {
        let (challenge, detail) = if credential_came {
            (
                r#"Bearer error="invalid_token""#,
                "The credential is not valid here, or no longer; send a current access token or API key.",
            )
        } else {
            ("Bearer", "Send an access token or an API key as `Authorization: Bearer <credential>`.")
        };
        Self::new(StatusCode::UNAUTHORIZED, detail).with(header::WWW_AUTHENTICATE, challenge)
    }

    /// RFC 6750, section 3.1. Scopes need no quoting: their alphabet has neither quotes nor backslashes.
    pub fn insufficient_scope(scope: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("The credential lacks the scope {scope}; use one that holds it."))
            .with(header::WWW_AUTHENTICATE, &format!(r#"Bearer error="insufficient_scope", scope="{scope}""#))
    }

    pub fn not_a_key() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Only an API key can ask about itself; send one as the bearer credential.")
            .with(header::WWW_AUTHENTICATE, r#"Bearer error="insufficient_scope""#)
    }

    pub fn unsupported_media_type(detail: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    pub fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "There is nothing here that this credential may see; check the path and the id.",
        )
    }

    pub fn method_not_allowed(allow: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("This path takes {allow} only.")).with(header::ALLOW, allow)
    }

    pub fn unprocessable(errors: Vec<Violation>) -> Self {
        let first = errors.first().map(|error| match error.pointer.as_str() {
            "" => format!("it {}", error.detail),
            pointer => format!("{pointer} {}", error.detail),
        });
        let detail = format!("The body breaks a rule: {}.", first.unwrap_or_default());
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    pub fn unavailable(cause: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The service cannot reach its database now; send the request again later.",
        )
        .with(header::RETRY_AFTER, "1")
        .because(cause)
    }

    /// The provider is asked again at the latest when this time is over.
    fn issuer_unavailable(cause: String) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The keys of the token's issuer cannot be had now; send the request again later.",
        )
        .with(header::RETRY_AFTER, "30")
        .because(cause)
    }

    pub fn not_ready(checks: &[Check]) -> Self {
        let bad = || checks.iter().filter(|check| !check.ok);
        let reasons: Vec<_> = bad().map(|check| format!("{} {}", check.name, check.detail)).collect();
        let causes: Vec<_> = bad().map(|check| check.cause.as_deref().unwrap_or(&check.detail)).collect();
        let problem =
            Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("Send no requests here: {}.", reasons.join("; ")))
                .with(header::RETRY_AFTER, "1")
                .because(causes.join("; "));
        Self { checks: Some(health::told(checks).into()), ..problem }
    }

    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "The service failed; its log says why, under this request's id.")
            .because(cause)
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("our own header values are visible ASCII");
        self.headers.push((name, value));
        self
    }

    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Such a problem as the document shows it.
    pub fn example(status: StatusCode) -> serde_json::Value {
        let problem = match status {
            StatusCode::BAD_REQUEST => Self::bad_request("The body is not well-formed JSON: look at line 1, column 9."),
            StatusCode::UNAUTHORIZED => Self::unauthorized(true),
            StatusCode::FORBIDDEN => Self::insufficient_scope("api-keys:write"),
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::REQUEST_TIMEOUT => Self::too_slow(),
            StatusCode::CONFLICT => ServiceError::Conflict {
                kind: "rotation-in-progress",
                detail: "The key has been rotated and its old secret still lives; wait until the grace is over.",
            }
            .into(),
            StatusCode::PRECONDITION_FAILED => ServiceError::PreconditionFailed.into(),
            StatusCode::PAYLOAD_TOO_LARGE => Self::too_large(),
            StatusCode::UNPROCESSABLE_ENTITY => Self::unprocessable(vec![Violation::new("/name", "is required")]),
            StatusCode::SERVICE_UNAVAILABLE => Self::unavailable(""),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Self::new(status, "Send the body as JSON, with `Content-Type: application/json`.")
            }
            _ => Self::internal(""),
        };
        problem.body("0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11").to_json().unwrap_or_default()
    }

    pub fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "Send the body at once; it took too long.")
    }

    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Send a body of at most 64 KiB (65536 bytes).")
    }

    fn body(self, request_id: &str) -> ProblemDetail {
        ProblemDetail {
            kind: Some(self.slug.map_or("about:blank".into(), |slug| format!("urn:mintkey:problem:{slug}"))),
            title: self.status.canonical_reason().unwrap_or("Error").into(),
            status: self.status.as_u16(),
            detail: self.detail.into(),
            errors: (!self.errors.is_empty()).then_some(self.errors),
            request_id: Some(request_id.to_owned()),
        }
    }

    pub fn into_response(mut self, media_type: &'static str, request_id: &str) -> Response {
        let (status, headers) = (self.status, std::mem::take(&mut self.headers));
        let checks = self.checks.take();
        let mut body = self.body(request_id).to_json().unwrap_or_default();
        if let Some(checks) = checks {
            body["checks"] = *checks;
        }
        let body = Body::from(body.to_string());
        let mut response = Response::builder().status(status).content_type(media_type).body(body);
        response.headers_mut().extend(headers);
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.cause.as_deref().unwrap_or(&self.detail))
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(broken) => Self::unprocessable(
                broken.into_iter().map(|(pointer, rule)| Violation::new(pointer, rule.to_string())).collect(),
            ),
            ServiceError::NotFound => Self::not_found(),
            ServiceError::PreconditionFailed => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "The key has changed since the ETag in If-Match was given; get it again and repeat the change.",
            ),
            ServiceError::Conflict { kind, detail } => {
                Self { slug: Some(kind), ..Self::new(StatusCode::CONFLICT, detail) }
            }
            ServiceError::IdempotencyKeyReused => Self {
                slug: Some("idempotency-key-reused"),
                ..Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "This Idempotency-Key was used with another body; send the same body, or a new key.",
                )
            },
            ServiceError::MissingScope(scope) => Self::insufficient_scope(&scope),
            ServiceError::Unavailable(cause) => Self::unavailable(cause),
            ServiceError::IssuerUnavailable(cause) => Self::issuer_unavailable(cause),
            ServiceError::Internal(cause) => Self::internal(cause),
        }
    }
}

/// Names of headers, and what they hold.
type Headers = &'static [(&'static str, &'static str)];

/// The statuses that an operation may fail with: what each means is written here, once.
const FAILURES: [(u16, &str, Headers); 12] = [
    (400, "The request cannot be read: its JSON or its query is malformed.", &[]),
    (
        401,
        "The credential is missing, malformed, expired or unknown.",
        &[("WWW-Authenticate", "What to send, and what was wrong with what came (RFC 6750).")],
    ),
    (403, "The caller is known and may not do this.", &[("WWW-Authenticate", "The scope that is missing (RFC 6750).")]),
    (404, "There is no such thing, or it is another owner's.", &[]),
    (408, "The body did not arrive in time.", &[]),
    (409, "The state of the key forbids it; `type` says why.", &[]),
    (412, "The `If-Match` of the request names another revision than the present one.", &[]),
    (413, "The body is over 64 KiB.", &[]),
    (415, "The body is not declared as `application/json`.", &[]),
    (
        422,
        "The body is JSON and breaks a rule, which `errors` names; or its `Idempotency-Key` came with another body before.",
        &[],
    ),
    (500, "The service failed.", &[]),
    (503, "The service cannot know the answer now.", &[("Retry-After", "Seconds to wait before the next try.")]),
];

/// A problem of an operation that may fail with the given statuses and no others: a bit each, in the order of
/// [`FAILURES`], made by [`may_fail`]. The document lists them from here.
#[derive(Debug)]
pub struct Failure<const MAY: u32>(Problem);

pub const fn may_fail(statuses: &[u16]) -> u32 {
    let mut mask = 0;
    let mut asked = 0;
    while asked < statuses.len() {
        let mut known = 0;
        while FAILURES[known].0 != statuses[asked] {
            known += 1;
        }
        mask |= 1 << known;
        asked += 1;
    }
    mask
}

impl<const MAY: u32, T: Into<Problem>> From<T> for Failure<MAY> {
    fn from(error: T) -> Self {
        Self(error.into())
    }
}

impl<const MAY: u32> From<Failure<MAY>> for poem::Error {
    fn from(Failure(problem): Failure<MAY>) -> Self {
        problem.into()
    }
}

impl<const MAY: u32> ApiResponse for Failure<MAY> {
    fn meta() -> MetaResponses {
        let listed = FAILURES.iter().enumerate().filter(|(bit, _)| MAY & (1 << bit) != 0);
        let responses = listed.map(|(_, &(status, description, headers))| failure_meta(status, description, headers));
        MetaResponses { responses: responses.collect() }
    }

    fn register(registry: &mut Registry) {
        ProblemDetail::register(registry);
    }
}

fn failure_meta(status: u16, description: &'static str, headers: &[(&str, &str)]) -> MetaResponse {
    let header = |name: &str, description: &str, schema: MetaSchemaRef| MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema,
    };
    let content = |content_type| MetaMediaType { content_type, schema: ProblemDetail::schema_ref() };
    MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: vec![content(PROBLEM_JSON), content(JSON)],
        headers: headers.iter().map(|(name, description)| header(name, description, String::schema_ref())).collect(),
    }
}
