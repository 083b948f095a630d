//! Content-Type and Content-Encoding of a body.

use poem::Request;
use poem::http::{StatusCode, header};

use crate::http::problem::Problem;

/// RFC 7396.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

pub fn check_media_type(request: &Request, taken: &[&str]) -> Result<(), Problem> {
    let unsupported = |detail| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return unsupported("Send the body as it is, without a Content-Encoding.");
    }
    let mut declared = request.headers().get_all(header::CONTENT_TYPE).iter();
    match (declared.next(), declared.next()) {
        (Some(only), None) if only.to_str().is_ok_and(|declared| is_one_of(declared, taken)) => Ok(()),
        _ => unsupported("Send the body as JSON, with `Content-Type: application/json`."),
    }
}

/// With no parameter but a charset of UTF-8, which is all that RFC 8259, section 8.1, allows.
fn is_one_of(content_type: &str, taken: &[&str]) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    parts.next().is_some_and(|media_type| taken.iter().any(|taken| media_type.eq_ignore_ascii_case(taken)))
        && parts.all(|parameter| {
            parameter.is_empty()
                || parameter.split_once('=').is_some_and(|(name, value)| {
                    name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
                })
        })
}
