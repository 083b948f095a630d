//! Negotiation: the media type of a response that has several.

use poem::http::{HeaderMap, header};

use crate::http::problem::{JSON, PROBLEM_JSON};

const TEXT_HTML: &str = "text/html";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    ProblemJson,
    Json,
}

impl ErrorFormat {
    /// The default of the operation, unless `Accept` admits the other one and not that (RFC 9110, section 12.5.1).
    pub fn from_accept(headers: &HeaderMap, default: Self) -> Self {
        let other = match default {
            Self::ProblemJson => Self::Json,
            Self::Json => Self::ProblemJson,
        };
        if prefers(headers, other.media_type(), default.media_type()) { other } else { default }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::ProblemJson => PROBLEM_JSON,
            Self::Json => JSON,
        }
    }
}

/// True if `Accept` admits the first media type and not the second.
pub fn prefers(headers: &HeaderMap, first: &str, second: &str) -> bool {
    let ranges = accepted_ranges(headers);
    !ranges.is_empty() && weight(&ranges, second) <= 0.0 && weight(&ranges, first) > 0.0
}

/// True if the client is a browser that opens a page: `Accept` names HTML, and nothing prefers JSON to it.
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let ranges = accepted_ranges(headers);
    let names_html = ranges.iter().any(|range| range.trim_start().to_ascii_lowercase().starts_with(TEXT_HTML));
    names_html && weight(&ranges, TEXT_HTML) > 0.0 && weight(&ranges, TEXT_HTML) >= weight(&ranges, JSON)
}

fn accepted_ranges(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all(header::ACCEPT).iter().flat_map(|accept| accept.to_str().unwrap_or_default().split(',')).collect()
}

/// Returns the weight of the most specific range that matches, 0 if none does.
fn weight(ranges: &[&str], media_type: &str) -> f32 {
    let weight = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specificity = match name.as_str() {
            name if name == media_type => 2,
            name if name.strip_suffix("/*") == media_type.split('/').next() => 1,
            "*/*" => 0,
            _ => return None,
        };
        let q = parts.find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")));
        Some((specificity, q.map_or(1.0, |q| q.trim().parse().ok().filter(|q| *q > 0.0).unwrap_or(0.0))))
    };
    ranges
        .iter()
        .filter_map(|range| weight(range))
        .max_by_key(|(specificity, _)| *specificity)
        .map_or(0.0, |(_, weight)| weight)
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    #[test]
    fn error_format_is_the_default_unless_only_the_other_is_accepted() {
        use ErrorFormat::{Json, ProblemJson};
        // With `application/problem+json` as the default, and with `application/json`.
        for (accept, expected) in [
            (None, [ProblemJson, Json]),
            (Some("*/*"), [ProblemJson, Json]),
            (Some("application/*"), [ProblemJson, Json]),
            (Some("application/json"), [Json, Json]),
            (Some("application/problem+json"), [ProblemJson, ProblemJson]),
            (Some("Application/JSON; q=0.5"), [Json, Json]),
            (Some("text/html, application/json"), [Json, Json]),
            (Some("application/json, application/problem+json"), [ProblemJson, Json]),
            (Some("application/json, */*;q=0.1"), [ProblemJson, Json]),
            (Some("application/problem+json;q=0, */*"), [Json, Json]),
            (Some("text/html"), [ProblemJson, Json]),
            (Some("application/json;q=0"), [ProblemJson, Json]),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            let formats = [ProblemJson, Json].map(|default| ErrorFormat::from_accept(&headers, default));
            assert_eq!(formats, expected, "{accept:?}");
        }
    }

    #[test]
    fn prefers_html_is_true_for_browsers_that_open_a_page() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8", true),
            ("text/html", true),
            ("Text/HTML; charset=utf-8, application/json", true),
            ("text/html;q=0.5, application/json", false),
            ("text/html;q=0", false),
            ("application/json, text/plain, */*", false),
            ("*/*", false),
            ("application/problem+json", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(prefers_html(&headers), expected, "{accept}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }
}
