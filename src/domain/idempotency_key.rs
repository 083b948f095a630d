//! IdempotencyKey: the client's name for one request, by which a repetition is recognized.

use crate::domain::validation::ValidationError;

/// 20 to 255 visible ASCII characters. The stored response is encrypted under a key derived from it, so it must not be
/// guessable: 20 random characters of base64 are 120 bits, and common generators make 20 (xid) or 21 (nanoid).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// In characters.
    pub const MIN: usize = 20;
    /// In characters.
    pub const MAX: usize = 255;

    /// Checks length and alphabet.
    pub fn new(text: &str) -> Result<Self, ValidationError> {
        if (Self::MIN..=Self::MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValidationError::new("must be 20 to 255 visible ASCII characters"))
        }
    }

    /// The key as the client sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_takes_20_to_255_visible_ascii_characters() {
        for valid in [
            "x".repeat(20),
            "x".repeat(255),
            "V1StGXR8_Z5jdHi6B-myT".to_owned(),
            "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11".to_owned(),
        ] {
            assert!(IdempotencyKey::new(&valid).is_ok(), "{valid}");
        }
        for invalid in ["x".repeat(19), "x".repeat(256), format!("{} ", "x".repeat(20)), "é".repeat(20)] {
            assert!(IdempotencyKey::new(&invalid).is_err(), "{invalid}");
        }
    }
}
