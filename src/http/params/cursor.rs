//! The position of a page in a list.

use std::fmt;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::{ParseError, ParseFromParameter, ParseResult};
use uuid::Uuid;

use crate::http::values::schema_type;

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
        }
    }
}
