//! Maximum number of items of a page.

use poem_openapi::registry::MetaSchema;
use poem_openapi::types::{ParseError, ParseFromParameter, ParseResult};
use serde_json::json;

use crate::http::values::schema_type;

/// Maximum number of items of a page.
#[derive(Debug, Clone, Copy)]
pub struct Limit(pub u64);

impl Default for Limit {
    fn default() -> Self {
        Self(20)
    }
}

schema_type!(
    Limit,
    "Limit",
    MetaSchema {
        minimum: Some(1.0),
        maximum: Some(100.0),
        default: Some(json!(20)),
        ..MetaSchema::new_with_format("integer", "int32")
    }
);

impl ParseFromParameter for Limit {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let limit = text.parse().ok().filter(|limit| digits && (1..=100).contains(limit));
        limit.map(Self).ok_or_else(|| ParseError::custom("must be a whole number from 1 to 100"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn limit_of_any_text_parses_without_a_panic(text in ".{0,30}") {
            let _ = Limit::parse_from_parameter(&text);
        }
    }
}
