//! KeyLimit: how many keys one owner may have.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::domain::validation::ValidationError;

/// The number of keys of one owner that are neither revoked nor deleted. Expired and disabled ones count, because an
/// update can make them valid again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyLimit {
    AtMost(NonZeroU32),
    Unlimited,
}

impl KeyLimit {
    /// The default of `--max-keys-per-owner`.
    pub const DEFAULT: Self = Self::AtMost(NonZeroU32::new(1000).expect("not zero"));

    /// True if an owner may have this many keys.
    pub fn admits(self, keys: i64) -> bool {
        keys <= self.largest()
    }

    /// The largest number of keys that an owner may have.
    pub fn largest(self) -> i64 {
        match self {
            Self::AtMost(limit) => limit.get().into(),
            Self::Unlimited => i64::MAX,
        }
    }
}

impl FromStr for KeyLimit {
    type Err = ValidationError;

    fn from_str(text: &str) -> Result<Self, ValidationError> {
        match text {
            "unlimited" => Ok(Self::Unlimited),
            number => number
                .parse()
                .map(Self::AtMost)
                .map_err(|_| ValidationError::new("give a number from 1 to 4294967295, or `unlimited`")),
        }
    }
}

impl fmt::Display for KeyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => limit.fmt(f),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_limit_is_a_positive_number_or_unlimited() {
        for text in ["1", "1000", "4294967295", "unlimited"] {
            assert_eq!(text.parse::<KeyLimit>().unwrap().to_string(), text);
        }
        for text in ["0", "-1", "", "4294967296", "1.5", "none"] {
            assert!(text.parse::<KeyLimit>().is_err(), "{text:?}");
        }
        let three: KeyLimit = "3".parse().unwrap();
        assert!(three.admits(3) && !three.admits(4) && KeyLimit::Unlimited.admits(i64::MAX));
    }
}
