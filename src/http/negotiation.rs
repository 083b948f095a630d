//! Negotiation: the media type of an error response.

use poem::Request;
use poem::http::header;

use crate::http::problem::{JSON, PROBLEM_JSON};

/// `application/problem+json`, unless `Accept` admits `application/json` and not that (RFC 9110, section 12.5.1).
pub fn problem_media_type(request: &Request) -> &'static str {
    let mut ranges: Vec<&str> = Vec::new();
    for accept in request.headers().get_all(header::ACCEPT) {
        ranges.extend(accept.to_str().unwrap_or_default().split(','));
    }
    if !ranges.is_empty() && !admits(&ranges, PROBLEM_JSON) && admits(&ranges, JSON) { JSON } else { PROBLEM_JSON }
}

/// The most specific range that matches decides, by whether its weight is above zero.
fn admits(ranges: &[&str], media_type: &str) -> bool {
    let weight = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specificity = match name.as_str() {
            name if name == media_type => 2,
            "application/*" => 1,
            "*/*" => 0,
            _ => return None,
        };
        let q = parts.find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")));
        Some((specificity, q.is_none_or(|q| q.trim().parse::<f32>().is_ok_and(|q| q > 0.0))))
    };
    ranges
        .iter()
        .filter_map(|range| weight(range))
        .max_by_key(|(specificity, _)| *specificity)
        .is_some_and(|(_, admitted)| admitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_problem_json_unless_only_plain_json_is_accepted() {
        for (accept, expected) in [
            (None, PROBLEM_JSON),
            (Some("*/*"), PROBLEM_JSON),
            (Some("application/*"), PROBLEM_JSON),
            (Some("application/json"), JSON),
            (Some("Application/JSON; q=0.5"), JSON),
            (Some("text/html, application/json"), JSON),
            (Some("application/json, application/problem+json"), PROBLEM_JSON),
            (Some("application/json, */*;q=0.1"), PROBLEM_JSON),
            (Some("application/problem+json;q=0, */*"), JSON),
            (Some("text/html"), PROBLEM_JSON),
            (Some("application/json;q=0"), PROBLEM_JSON),
        ] {
            let mut request = Request::builder();
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            assert_eq!(problem_media_type(&request.finish()), expected, "{accept:?}");
        }
    }
}
