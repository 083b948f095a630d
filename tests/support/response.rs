//! A response, and checks of it that many tests repeat.

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde_json::{Value, json};

/// A response with its whole body.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// `null` if the body is not JSON.
    pub body: Value,
    /// The URL of the request.
    url: Url,
}

impl Response {
    /// Sends the request.
    pub async fn to(request: RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap()).await
    }

    pub async fn read(response: reqwest::Response) -> Self {
        let (status, headers, url) = (response.status(), response.headers().clone(), response.url().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, text, body, url }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The path and query of `Location`, resolved against the request's URL (RFC 3986).
    #[allow(dead_code, reason = "not every test binary follows it")]
    pub fn location(&self) -> Option<String> {
        self.header("location").map(|location| self.resolve(location))
    }

    /// The path and query of the `Link` to the next page, resolved in the same way.
    #[allow(dead_code, reason = "not every test binary follows it")]
    pub fn next_page(&self) -> Option<String> {
        let link = self.header("link")?;
        let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(r#">; rel="next""#));
        Some(self.resolve(target.unwrap_or_else(|| panic!("{link}"))))
    }

    fn resolve(&self, reference: &str) -> String {
        let url = self.url.join(reference).unwrap();
        url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()))
    }

    /// The pointers of the violations, in the order of the response.
    #[track_caller]
    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().unwrap();
        assert!(errors.iter().all(|error| error["detail"].as_str().is_some_and(|detail| !detail.is_empty())));
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
    }

    /// Checks that this is a problem with this status and this type (the part after `urn:mintkey:problem:`).
    #[track_caller]
    pub fn assert_problem_type(&self, status: u16, problem_type: &str) {
        self.assert_problem(status);
        assert_eq!(self.body["type"], format!("urn:mintkey:problem:{problem_type}"), "{}", self.text);
    }

    /// Checks that no credential was given: a 401 whose challenge has no error.
    #[track_caller]
    pub fn assert_unauthenticated(&self) {
        self.assert_problem(401);
        assert_eq!(self.header("www-authenticate"), Some("Bearer"), "{}", self.text);
    }

    /// Checks that the credential was rejected: a 401 with the error `invalid_token`.
    #[track_caller]
    pub fn assert_invalid_token(&self) {
        self.assert_problem(401);
        assert_eq!(self.header("www-authenticate"), Some(r#"Bearer error="invalid_token""#), "{}", self.text);
    }

    /// Checks that the caller lacks this scope: a 403 with the error `insufficient_scope`.
    #[track_caller]
    pub fn assert_missing_scope(&self, scope: &str) {
        let detail = self.assert_problem(403);
        assert!(detail.contains(scope), "{detail}");
        let challenge = format!(r#"Bearer error="insufficient_scope", scope="{scope}""#);
        assert_eq!(self.header("www-authenticate"), Some(&*challenge), "{}", self.text);
    }

    /// Checks that this is a 422 with violations at exactly these pointers, in this order.
    #[track_caller]
    pub fn assert_violations(&self, pointers: &[&str]) {
        self.assert_problem(422);
        assert_eq!(self.pointers(), pointers, "{}", self.text);
    }

    #[track_caller]
    pub fn etag(&self) -> &str {
        let tag = self.header("etag").unwrap_or_else(|| panic!("no ETag: {}", self.text));
        assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "a strong ETag: {tag}");
        tag
    }

    /// Checks that this is a complete problem with this status, and returns its `detail`.
    #[track_caller]
    pub fn assert_problem(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.text);
        // OAuth clients read `error`, and only in JSON of the plain type (RFC 6749, section 5.2).
        let media_type = if self.body["error"].is_null() { "application/problem+json" } else { "application/json" };
        assert_eq!(self.header("content-type"), Some(media_type));
        assert_eq!(self.body["status"], json!(status));
        assert_eq!(self.body["request_id"].as_str(), self.header("x-request-id"));
        assert!(self.body["title"].as_str().is_some_and(|title| !title.is_empty()));
        let detail = self.body["detail"].as_str().unwrap();
        assert!(!detail.is_empty());
        detail
    }
}
