//! Problem: the members and the challenge that an OAuth client looks for in an error.

use poem::http::StatusCode;

use crate::http::problem::Problem;

/// Adds the error code of RFC 6749, section 5.2. A 401 also offers Basic, beside Bearer.
pub fn oauth_problem(problem: Problem) -> Problem {
    let code = error_code(&problem);
    let problem = problem.with_oauth_error(code);
    if problem.status == StatusCode::UNAUTHORIZED { problem.with_basic_challenge() } else { problem }
}

/// The same for introspection. A client that does not look at the status then finds no active token.
pub fn introspection_problem(problem: Problem) -> Problem {
    oauth_problem(problem).with_extension("active", false.into())
}

fn error_code(problem: &Problem) -> &'static str {
    match problem.status {
        _ if problem.has_type(UNSUPPORTED_TOKEN_TYPE.0) => "unsupported_token_type",
        StatusCode::UNAUTHORIZED => "invalid_client",
        StatusCode::FORBIDDEN => "insufficient_scope",
        StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request",
    }
}

/// 401 for a request without a credential in any of the places.
pub fn missing_client_credential() -> Problem {
    Problem::missing_credential().with_detail(
        "Send an API key or an access token as `Authorization: Bearer <credential>`, as the password of HTTP Basic, or in \
         the form field `client_secret`.",
    )
}

/// 400 for a token that the service does not issue, so that it cannot end it (RFC 7009, section 2.2.1).
pub fn unsupported_token_type() -> Problem {
    Problem::bad_request("Only API keys of this service can be revoked; let the issuer of an access token revoke it.")
        .with_type(UNSUPPORTED_TOKEN_TYPE.0)
}

/// 406 for a client that accepts a signed response alone.
pub fn signed_response_only() -> Problem {
    Problem::new(
        StatusCode::NOT_ACCEPTABLE,
        "Introspection responses are not signed (RFC 9701); send `Accept: application/json`.",
    )
}

/// The problem type of a token of another kind, and its meaning.
pub const UNSUPPORTED_TOKEN_TYPE: (&str, &str) =
    ("unsupported-token-type", "The token to revoke is an access token, which its issuer alone can revoke.");
