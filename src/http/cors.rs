//! CORS: lets pages of configured origins read responses (the Fetch standard, section 3.2).
//!
//! No request is refused because of its origin: browsers do not let a page read a response without these headers, and
//! other clients send any origin. A preflight gets its response before authentication, routing errors and overload, because a
//! page can read the error of its request only if the preflight of that request succeeded. Credentials mode is never
//! allowed: no operation reads a cookie.

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{Request, Response};

use crate::domain::secret::Secret;
use crate::http::problem::Problem;

/// For every path, so that the page can read a 404 and a 405.
const ALL_METHODS: &str = "DELETE, GET, HEAD, PATCH, POST, PUT";

/// The headers that operations read. `*` admits those that clients and monitoring add, which operations ignore; it does not
/// cover `Authorization`, and old browsers do not know it.
const REQUEST_HEADERS: &str =
    "Authorization, Content-Type, Idempotency-Key, If-Match, X-API-Key, X-Request-Id, traceparent, tracestate, *";

/// The response headers that a page can read, beside those that every page can. A test compares them with the document.
const RESPONSE_HEADERS: &str = "Allow, ETag, Idempotency-Replayed, Link, Location, RateLimit, RateLimit-Policy, \
                                Retry-After, Revoked-Descendants, WWW-Authenticate, X-Request-Id";

/// How long a browser may remember a preflight, in seconds. Chromium's maximum; Firefox has 86400, Safari 600.
const MAX_AGE: &str = "7200";

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Longer origins are not repeated in an error.
const MAX_SHOWN_ORIGIN: usize = 150;

/// The origins whose pages may read responses.
pub struct CorsPolicy {
    origins: Vec<HeaderValue>,
}

/// The result for the origin of one request.
#[derive(Clone, Copy)]
pub struct CheckedOrigin<'a> {
    /// Absent if the origin is not allowed, or if there is none.
    allowed: Option<&'a HeaderValue>,
}

impl CorsPolicy {
    /// Returns the policy for these origins, as browsers write them. None allows no origin.
    pub fn new(origins: &[String]) -> Option<Self> {
        let value = |origin: &String| HeaderValue::from_str(origin).expect("an origin is visible ASCII");
        (!origins.is_empty()).then(|| Self { origins: origins.iter().map(value).collect() })
    }

    /// Compares the origin byte by byte: a browser has one spelling for each.
    pub fn check(&self, headers: &HeaderMap) -> CheckedOrigin<'_> {
        let mut sent = headers.get_all(header::ORIGIN).iter();
        let allowed = match (sent.next(), sent.next()) {
            (Some(origin), None) => self.origins.iter().find(|allowed| *allowed == origin),
            _ => None,
        };
        CheckedOrigin { allowed }
    }
}

impl CheckedOrigin<'_> {
    /// Returns the response if the request is a preflight, which no operation serves.
    pub fn respond_to_preflight(self, request: &Request) -> Option<Result<Response, Problem>> {
        let sent = request.headers();
        let origin = sent.get(header::ORIGIN)?;
        if *request.method() != Method::OPTIONS || !sent.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        if self.allowed.is_none() {
            return Some(Err(origin_not_allowed(origin)));
        }
        let mut response = Response::builder()
            .status(StatusCode::NO_CONTENT)
            .header(header::ACCESS_CONTROL_ALLOW_METHODS, ALL_METHODS)
            .header(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS)
            .header(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE)
            .finish();
        // Chromium sends this before a page of a public network reaches a private one. The setting permits it.
        if sent.get(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
            response.headers_mut().insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
        Some(Ok(response))
    }

    /// Sets the headers of every response, also of one to another origin or to none: a cache must not use it for this one.
    pub fn set_headers(self, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = self.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
        }
    }
}

/// The problem type of a preflight from another origin than the configured ones.
pub const ORIGIN_NOT_ALLOWED: &str = "origin-not-allowed";

/// 403 for a preflight. The page cannot read it, but the browser's developer tools and the log show it.
fn origin_not_allowed(origin: &HeaderValue) -> Problem {
    // The header can hold anything, a credential too.
    let is_origin = |text: &&str| {
        let is_short = text.len() <= MAX_SHOWN_ORIGIN;
        is_short && text.contains("://") && !text.contains(['@', ' ']) && !text.contains("eyJ") && !Secret::is_in(text)
    };
    let shown = origin.to_str().ok().filter(|text| *text == "null" || is_origin(text)).unwrap_or("this origin");
    let detail = match shown {
        "null" => {
            "Pages without an origin of their own (`null`), such as files and sandboxed frames, may not call this \
                   service; serve the page from a web server."
                .to_owned()
        }
        shown => format!(
            "Pages of {shown} may not call this service; add the origin to --cors-origin (MINTKEY_CORS_ORIGIN), or call from \
             a page of an origin that is there."
        ),
    };
    Problem::new(StatusCode::FORBIDDEN, detail).with_type(ORIGIN_NOT_ALLOWED).with_log_context(shown)
}
