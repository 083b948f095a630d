//! Negotiation: the media type of an error response.

use poem::http::{HeaderMap, header};

use crate::http::problem::{JSON, PROBLEM_JSON};

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
    let mut ranges: Vec<&str> = Vec::new();
    for accept in headers.get_all(header::ACCEPT) {
        ranges.extend(accept.to_str().unwrap_or_default().split(','));
    }
    !ranges.is_empty() && !admits(&ranges, second) && admits(&ranges, first)
}

/// True if the most specific range that matches has a weight above zero.
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
}
