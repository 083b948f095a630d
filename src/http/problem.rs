//! Problem: the one shape of every response that is not 2xx (RFC 9457).
//!
//! The kinds of problem here are those of HTTP and of bearer credentials; a service maps its own errors to them.

use std::time::Duration;

use poem::error::ResponseError;
use poem::http::{HeaderName, HeaderValue, StatusCode, header};
use poem::{Body, Response};
use poem_openapi::Object;
use poem_openapi::types::ToJSON;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::http::error_reason::ErrorReason;

pub const PROBLEM_JSON: &str = "application/problem+json";
pub const JSON: &str = "application/json";

/// Error response (RFC 9457).
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub struct ProblemDetail {
    /// Problem type: `about:blank` if the status says everything, else a `urn:mintkey:problem:` name that a client can
    /// act on.
    #[oai(rename = "type")]
    kind: Option<String>,
    /// Short summary of the type; for `about:blank` the name of the status.
    title: String,
    /// HTTP status of this response.
    #[oai(validator(minimum(value = "400"), maximum(value = "599")))]
    status: u16,
    /// What to change. Never contains a credential.
    detail: String,
    /// On 422: every validation error.
    errors: Option<Vec<Violation>>,
    /// Id of the request in the server's log.
    request_id: Option<String>,
    /// On OAuth operations: the error code of RFC 6749, section 5.2.
    error: Option<String>,
    /// On OAuth operations: the same as `detail`.
    error_description: Option<String>,
    /// On introspection: always false, for clients that do not look at the status.
    active: Option<bool>,
}

/// A validation error.
#[derive(Object, Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer to the invalid field (RFC 6901); empty for the body itself.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}

impl Violation {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// The value of `type` for a kind of problem that a client can act on.
pub fn type_urn(slug: &str) -> String {
    format!("urn:mintkey:problem:{slug}")
}

/// An error to be sent as a response. The client sees `detail`; only the log sees `log_context`.
#[derive(Debug, Error)]
#[error("{status}: {}", log_context.as_deref().unwrap_or(detail))]
pub struct Problem {
    pub status: StatusCode,
    /// Follows `urn:mintkey:problem:` in `type`. Absent where a client can act on the status alone.
    type_slug: Option<&'static str>,
    /// A code for the log.
    pub reason: &'static str,
    /// Boxed to keep results small, as are others.
    detail: Box<str>,
    errors: Box<[Violation]>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Members of the body beside the standard ones (RFC 9457, section 3.2).
    extensions: Option<Box<Map<String, Value>>>,
    pub log_context: Option<Box<str>>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let (errors, headers, extensions, log_context) = Default::default();
        let (type_slug, reason, detail) = (None, ErrorReason::of_status(status).as_str(), detail.into().into());
        Self { status, type_slug, reason, detail, errors, headers, extensions, log_context }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401 for a request without a credential. The challenge then has no error code (RFC 6750, section 3).
    pub fn missing_credential() -> Self {
        let detail = "Send an access token or an API key as `Authorization: Bearer <credential>`.";
        Self::new(StatusCode::UNAUTHORIZED, detail).with_header(header::WWW_AUTHENTICATE, "Bearer")
    }

    /// 401 for a request with a key. The log has the reason: the finder of an old key must not learn that it was one.
    pub fn invalid_credential(reason: &'static str) -> Self {
        let detail = "The credential is invalid or has expired; send a current access token or API key.";
        Self::rejected_credential(detail, reason)
    }

    /// 401 for a request with a credential, which says what is wrong with it.
    pub fn rejected_credential(detail: impl Into<String>, reason: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
            .with_header(header::WWW_AUTHENTICATE, r#"Bearer error="invalid_token""#)
            .with_reason(reason)
    }

    /// RFC 6750, section 3.1. Scopes need no quoting: they have neither quotes nor backslashes.
    pub fn insufficient_scope(scope: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("The credential lacks the scope {scope}; use one that has it."))
            .with_header(header::WWW_AUTHENTICATE, &format!(r#"Bearer error="insufficient_scope", scope="{scope}""#))
    }

    /// The credential lacks all of `all_of`, which may be empty, and has none of `any_of`. The challenge can only list
    /// scopes, so it lists all: a credential with these is sufficient.
    pub fn insufficient_scope_any_of(all_of: &[&str], any_of: &[&str]) -> Self {
        let others = any_of.iter().filter(|scope| !all_of.contains(scope));
        let all: Vec<_> = all_of.iter().chain(others).copied().collect();
        let lacks =
            if all_of.is_empty() { String::new() } else { format!("lacks the scope {} and ", all_of.join(" ")) };
        let any_of = any_of.join(" ");
        let detail =
            format!("The credential {lacks}has none of the scopes {any_of}; use one that has at least one of them.");
        Self { detail: detail.into(), ..Self::insufficient_scope(&all.join(" ")) }
    }

    /// The token lacks a scope that tokens of other issuers, by the settings, need not have.
    pub fn cannot_grant(scope: &str) -> Self {
        let detail = format!(
            "The token lacks the scope {scope}, and the setting `grants` of its issuer allows tokens to put only scopes on \
             keys that they have. Use a token that has it, or have the setting changed."
        );
        Self::insufficient_scope(scope).with_detail(detail).with_reason(ErrorReason::CannotGrant.as_str())
    }

    pub fn api_key_required() -> Self {
        Self::forbidden("This operation requires an API key; send one as the bearer credential, not an access token.")
            .with_reason(ErrorReason::ApiKeyRequired.as_str())
    }

    /// The credential is valid and has too few rights, whatever its scopes.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
            .with_header(header::WWW_AUTHENTICATE, r#"Bearer error="insufficient_scope""#)
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found. Check the path and the id.")
    }

    pub fn method_not_allowed(method: &str, allow: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("This path does not accept {method}, only {allow}."))
            .with_header(header::ALLOW, allow)
    }

    pub fn body_timeout(limit: Duration) -> Self {
        let limit = humantime::format_duration(limit);
        let detail = format!("The body did not arrive within {limit} (--request-timeout); send it without pauses.");
        Self::new(StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// `received` is the number of bytes that arrived or were declared, before the rest was refused.
    pub fn body_too_large(received: u64) -> Self {
        let detail = format!("Send a body of at most 64 KiB (65536 bytes); this one has {received} or more.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// `detail` repeats the first violation.
    pub fn unprocessable(errors: Vec<Violation>) -> Self {
        let first = errors.first().map(|error| match error.pointer.as_str() {
            "" => format!("it {}", error.detail),
            pointer => format!("{pointer} {}", error.detail),
        });
        let detail = format!("The body is invalid: {}.", first.unwrap_or_default());
        Self { errors: errors.into(), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    pub fn internal(log_context: impl Into<String>) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "An internal error occurred; the server's log has the reason under this request id.",
        )
        .with_log_context(log_context)
    }

    pub fn unavailable(detail: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with_header(header::RETRY_AFTER, &retry_after_seconds.to_string())
    }

    pub fn with_detail(self, detail: impl Into<Box<str>>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// Adds `error`, which OAuth clients read, and `error_description`.
    pub fn with_oauth_error(self, code: &str) -> Self {
        let detail = oauth_text(&self.detail);
        self.with_extension("error", code.into()).with_extension("error_description", detail.into())
    }

    /// Offers Basic (RFC 7617) beside the schemes that the problem names already.
    pub fn with_basic_challenge(self) -> Self {
        self.with_header(header::WWW_AUTHENTICATE, r#"Basic realm="mintkey", charset="UTF-8""#)
    }

    pub fn has_type(&self, type_slug: &str) -> bool {
        self.type_slug == Some(type_slug)
    }

    pub fn with_type(self, type_slug: &'static str) -> Self {
        Self { type_slug: Some(type_slug), reason: type_slug, ..self }
    }

    pub fn with_reason(self, reason: &'static str) -> Self {
        Self { reason, ..self }
    }

    pub fn with_log_context(self, log_context: impl Into<String>) -> Self {
        Self { log_context: Some(log_context.into().into()), ..self }
    }

    pub fn with_extension(mut self, name: &str, value: Value) -> Self {
        self.extensions.get_or_insert_default().insert(name.to_owned(), value);
        self
    }

    fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("header values of problems are visible ASCII");
        self.headers.push((name, value));
        self
    }

    /// Returns the body of the response, without the headers.
    pub fn into_json(self, request_id: &str) -> Value {
        let kind = self.type_slug.map_or("about:blank".into(), type_urn);
        let standard = ProblemDetail {
            kind: Some(kind),
            title: self.status.canonical_reason().unwrap_or("Error").into(),
            status: self.status.as_u16(),
            error: None,
            error_description: None,
            active: None,
            detail: self.detail.into(),
            errors: (!self.errors.is_empty()).then(|| self.errors.into_vec()),
            request_id: Some(request_id.to_owned()),
        };
        let mut body = standard.to_json().unwrap_or_default();
        for (name, value) in self.extensions.into_iter().flat_map(|extensions| *extensions) {
            body[name] = value;
        }
        body
    }

    pub fn into_response(mut self, media_type: &'static str, request_id: &str) -> Response {
        let (status, headers) = (self.status, std::mem::take(&mut self.headers));
        let body = Body::from(self.into_json(request_id).to_string());
        let mut response = Response::builder().status(status).content_type(media_type).body(body);
        response.headers_mut().extend(headers);
        response
    }
}

/// RFC 6749, section 5.2: `error_description` has no quotation marks, backslashes and characters outside of ASCII.
fn oauth_text(detail: &str) -> String {
    let replace = |c: char| match c {
        '"' | '\\' => '\'',
        ' '..='~' => c,
        _ => '?',
    };
    detail.chars().map(replace).collect()
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.status
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn into_json_adds_extensions_to_the_standard_members() {
        let problem = Problem::unavailable("Not ready.", 5).with_extension("checks", json!([{ "name": "store" }]));
        let expected = json!({
            "type": "about:blank",
            "title": "Service Unavailable",
            "status": 503,
            "detail": "Not ready.",
            "request_id": "r",
            "checks": [{ "name": "store" }],
        });
        assert_eq!(problem.into_json("r"), expected);
    }

    #[test]
    fn oauth_text_is_of_the_characters_that_oauth_allows() {
        assert_eq!(oauth_text("its `typ` is \"a\\n\u{e9}\""), "its `typ` is 'a'n?'");
    }

    #[test]
    fn into_json_never_shows_the_log_context() {
        let problem = Problem::internal("the secret reason").with_type("broken");
        assert_eq!(problem.to_string(), "500 Internal Server Error: the secret reason");
        let body = problem.into_json("r");
        assert_eq!(body["type"], "urn:mintkey:problem:broken");
        assert!(!body.to_string().contains("secret"));
    }
}
