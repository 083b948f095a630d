//! The position of a page in a list.

use std::fmt;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::{ParseError, ParseFromParameter, ParseResult};
use uuid::Uuid;

use crate::http::values::schema_type;

/// A position in a list: the id of the item before it, in base64url without padding. Opaque to clients. Any 22 characters
/// of the alphabet are a valid cursor, so that the pattern in the document is the whole rule.
#[derive(Debug, Clone, Copy)]
pub struct Cursor(pub Uuid);

/// Ignores the last four of the 132 bits in 22 characters.
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
        bytes.map(Self).ok_or_else(|| ParseError::custom("must be the cursor of a page, as this service returned it"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cursor_round_trips(id: u128) {
            let id = Uuid::from_u128(id);
            let text = Cursor(id).to_string();
            prop_assert_eq!(text.len(), 22);
            prop_assert_eq!(Cursor::parse_from_parameter(&text).unwrap().0, id);
        }

        #[test]
        fn cursor_is_any_22_characters_of_the_alphabet(text in "[A-Za-z0-9_-]{22}") {
            prop_assert!(Cursor::parse_from_parameter(&text).is_ok());
        }

        #[test]
        fn cursor_of_any_text_parses_without_a_panic(text in ".{0,30}") {
            let _ = Cursor::parse_from_parameter(&text);
        }
    }
}
