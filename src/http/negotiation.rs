//! Negotiation: the media type of an error response.

use poem::http::{HeaderMap, header};

use crate::http::problem::{JSON, PROBLEM_JSON};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    ProblemJson,
    Json,
}

impl ErrorFormat {
    /// `application/problem+json`, unless `Accept` admits `application/json` and not that (RFC 9110, section 12.5.1).
    pub fn from_accept(headers: &HeaderMap) -> Self {
        let mut ranges: Vec<&str> = Vec::new();
        for accept in headers.get_all(header::ACCEPT) {
            ranges.extend(accept.to_str().unwrap_or_default().split(','));
        }
        match !ranges.is_empty() && !admits(&ranges, PROBLEM_JSON) && admits(&ranges, JSON) {
            true => Self::Json,
            false => Self::ProblemJson,
        }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Self::ProblemJson => PROBLEM_JSON,
            Self::Json => JSON,
        }
    }
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
    fn error_format_is_problem_json_unless_only_json_is_accepted() {
        for (accept, expected) in [
            (None, ErrorFormat::ProblemJson),
            (Some("*/*"), ErrorFormat::ProblemJson),
            (Some("application/*"), ErrorFormat::ProblemJson),
            (Some("application/json"), ErrorFormat::Json),
            (Some("Application/JSON; q=0.5"), ErrorFormat::Json),
            (Some("text/html, application/json"), ErrorFormat::Json),
            (Some("application/json, application/problem+json"), ErrorFormat::ProblemJson),
            (Some("application/json, */*;q=0.1"), ErrorFormat::ProblemJson),
            (Some("application/problem+json;q=0, */*"), ErrorFormat::Json),
            (Some("text/html"), ErrorFormat::ProblemJson),
            (Some("application/json;q=0"), ErrorFormat::ProblemJson),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(ErrorFormat::from_accept(&headers), expected, "{accept:?}");
        }
    }
}
