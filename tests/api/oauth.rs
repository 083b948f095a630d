//! The OAuth operations: introspection and revocation of tokens that are API keys.

mod client_authentication;
mod introspect;
mod revoke;

use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};

use crate::support::{Response, Server};

const INTROSPECT: &str = "/api/oauth/introspect";
const REVOKE: &str = "/api/oauth/revoke";
const FORM: &str = "application/x-www-form-urlencoded";
const GATEWAY: &[&str] = &["--scopes", "api-keys:verify"];

/// A request with this form and this bearer credential, or without one if it is empty.
fn form(server: &Server, path: &str, credential: &str, form: impl Into<reqwest::Body>) -> RequestBuilder {
    server.request(Method::POST, path, credential).header("content-type", FORM).body(form)
}

/// Sends a request with this form and this `Authorization` header.
async fn authorized(server: &Server, path: &str, authorization: &str, body: &str) -> Response {
    let value = HeaderValue::from_str(authorization).unwrap();
    Response::to(form(server, path, "", body.to_owned()).header("authorization", value)).await
}

/// Checks the members that OAuth clients read, and those of every problem.
#[track_caller]
fn assert_oauth_error(response: &Response, status: u16, error: &str) {
    let detail = response.assert_problem(status);
    assert_eq!(response.body["error"], error, "{}", response.text);
    // RFC 6749, section 5.2: without quotation marks.
    assert_eq!(response.body["error_description"], detail.replace('"', "'"), "{}", response.text);
}

/// Every challenge of a 401, in order.
fn challenges(response: &Response) -> Vec<&str> {
    response.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect()
}
