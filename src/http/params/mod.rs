//! Parameters: how values look in a query.

use std::fmt;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::NaiveDate;
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::{ParseError, ParseFromParameter, ParseResult};
use serde_json::json;
use uuid::Uuid;

use crate::domain::scope::{Scope, Scopes};
use crate::http::values::schema_type;

/// How many items a page has.
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
        limit.map(Self).ok_or_else(|| ParseError::custom("1 to 100"))
    }
}

/// A place in a list: the id of the last item before it, in base64url without padding. To clients it is opaque. Any 22
/// characters of the alphabet are a place, so there is no cursor that is well-formed and refused.
#[derive(Debug, Clone, Copy)]
pub struct Cursor(pub Uuid);

/// 22 characters hold 132 bits; the last four say nothing.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

schema_type!(
    Cursor,
    "Cursor",
    MetaSchema { pattern: Some("^[A-Za-z0-9_-]{22}$".to_owned()), ..MetaSchema::new("string") }
);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL.encode(self.0))
    }
}

impl ParseFromParameter for Cursor {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        let bytes = BASE64URL.decode(text).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
        bytes.map(Self).ok_or_else(|| ParseError::custom("not a cursor of this service"))
    }
}

/// A day, as `2026-11-23`.
#[derive(Debug, Clone, Copy)]
pub struct Day(pub NaiveDate);

schema_type!(
    Day,
    "Day",
    MetaSchema {
        pattern: Some("^[0-9]{4}-[0-9]{2}-[0-9]{2}$".to_owned()),
        ..MetaSchema::new_with_format("string", "date")
    }
);

impl ParseFromParameter for Day {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        // chrono takes signs, spaces and single digits as well.
        let is_shaped = text.len() == 10
            && text.bytes().enumerate().all(|(at, b)| if at == 4 || at == 7 { b == b'-' } else { b.is_ascii_digit() });
        let day = text.parse().ok().filter(|_| is_shaped);
        day.map(Self).ok_or_else(|| ParseError::custom("a day such as 2026-11-23"))
    }
}

/// Scopes, separated by spaces.
#[derive(Debug, Clone)]
pub struct ScopeList(pub Scopes);

schema_type!(
    ScopeList,
    "ScopeList",
    MetaSchema {
        pattern: Some("^[a-z0-9:._*-]{1,100}( [a-z0-9:._*-]{1,100}){0,99}$".to_owned()),
        ..MetaSchema::new("string")
    }
);

impl ParseFromParameter for ScopeList {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        let mut names: Vec<_> = text.split(' ').collect();
        names.sort_unstable();
        names.dedup();
        let scopes: Result<Vec<_>, _> = names.into_iter().map(Scope::new).collect();
        Ok(Self(Scopes::new(scopes?)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_survives_the_way_out_and_back(id: u128) {
            let id = Uuid::from_u128(id);
            let text = Cursor(id).to_string();
            prop_assert_eq!(text.len(), 22);
            prop_assert_eq!(Cursor::parse_from_parameter(&text).unwrap().0, id);
        }

        #[test]
        fn any_22_characters_of_the_alphabet_are_a_place(text in "[A-Za-z0-9_-]{22}") {
            prop_assert!(Cursor::parse_from_parameter(&text).is_ok());
        }

        #[test]
        fn anything_else_is_refused_without_a_panic(text in ".{0,30}") {
            let _ = Cursor::parse_from_parameter(&text);
            let _ = Limit::parse_from_parameter(&text);
        }
    }
}
