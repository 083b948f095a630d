//! KeyName: the label of a key, chosen by its owner.

use serde::{Deserialize, Serialize};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::domain::validation::ValidationError;

/// 1 to 255 characters in Unicode normalization form C, trimmed, without invisible ones: a control character could forge
/// a line of a log, and a bidirectional one could make a key look like another in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyName(String);

impl KeyName {
    /// In characters.
    pub const MAX: usize = 255;

    /// Normalizes and checks a name.
    pub fn new(text: &str) -> Result<Self, ValidationError> {
        if text.chars().any(is_invisible) {
            return Err(ValidationError::new("must not contain control, format or line-break characters"));
        }
        let text = text.trim();
        let name: String = match is_nfc_quick(text.chars()) {
            IsNormalized::Yes => text.to_owned(),
            IsNormalized::No | IsNormalized::Maybe => text.nfc().collect(),
        };
        match name.chars().count() {
            0 => Err(ValidationError::new("must contain at least one character that is not white space")),
            1..=Self::MAX => Ok(Self(name)),
            _ => Err(ValidationError::new("must be at most 255 characters long")),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Wraps a name that was checked before it was stored.
    pub fn from_db(text: String) -> Self {
        Self(text)
    }
}

/// True for the characters that the `pattern` of names in the OpenAPI document excludes.
pub(in crate::domain) fn is_invisible(c: char) -> bool {
    matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_trims_and_composes() {
        assert_eq!(KeyName::new("  build bot ").unwrap().as_str(), "build bot");
        assert_eq!(KeyName::new("cafe\u{301}").unwrap().as_str(), "café");
        assert_eq!(KeyName::new("ключ 鍵 🔑").unwrap().as_str(), "ключ 鍵 🔑");
    }

    #[test]
    fn new_counts_characters_after_trimming() {
        assert!(KeyName::new(&format!(" {} ", "é".repeat(255))).is_ok());
        assert!(KeyName::new(&"é".repeat(256)).is_err());
        assert!(KeyName::new("").is_err());
        assert!(KeyName::new(" \u{3000} ").is_err());
    }

    #[test]
    fn new_rejects_invisible_characters_anywhere() {
        for c in [
            '\0',
            '\n',
            '\t',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{200b}',
            '\u{202e}',
            '\u{2028}',
            '\u{feff}',
            '\u{e0041}',
        ] {
            for text in [format!("{c}name"), format!("na{c}me"), format!("name{c}")] {
                assert!(KeyName::new(&text).is_err(), "U+{:04X}", u32::from(c));
            }
        }
    }
}
