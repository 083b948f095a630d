//! Scope: a permission of an API key, matched exactly (RFC 6749, section 3.3, with a narrower alphabet).

use crate::domain::validation::ValidationError;
use serde::{Deserialize, Serialize};

/// 1 to 100 characters of `a-z 0-9 : . _ - *`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope(String);

impl Scope {
    /// In characters.
    pub const MAX: usize = 100;

    /// Checks length and alphabet.
    pub fn new(text: &str) -> Result<Self, ValidationError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b":._-*".contains(&b);
        if (1..=Self::MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValidationError::new("must be 1 to 100 characters of a-z, 0-9, ':', '.', '_', '-' and '*'"))
        }
    }

    /// The scope.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for scopes of this service's own operations, which only a caller that has them can grant.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("api-keys:")
    }
}

/// At most 100 distinct scopes, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Maximum number of scopes.
    pub const MAX: usize = 100;

    /// Checks number and uniqueness.
    pub fn new(scopes: Vec<Scope>) -> Result<Self, ValidationError> {
        if scopes.len() > Self::MAX {
            return Err(ValidationError::new("must contain at most 100 scopes"));
        }
        let mut sorted: Vec<_> = scopes.iter().collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(ValidationError::new("must contain each scope once"));
        }
        Ok(Self(scopes))
    }

    /// Collects the scopes of a token or a stored key. Drops malformed ones, which no required scope can match.
    pub fn from_untrusted_lossy<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(texts.into_iter().filter_map(|text| Scope::new(text).ok()).collect())
    }

    /// True if the scope is among these.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|held| held.as_str() == scope)
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

/// The scopes of this service's own operations.
pub mod reserved {
    /// Reads the owner's keys.
    pub const READ: &str = "api-keys:read";
    /// Creates and changes the owner's keys.
    pub const WRITE: &str = "api-keys:write";
    /// Verifies keys of any owner.
    pub const VERIFY: &str = "api-keys:verify";
    /// Administers the keys of every owner.
    pub const ADMIN: &str = "api-keys:admin";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_takes_words_of_at_most_100_characters() {
        for valid in ["projects:read", "*", "a.b_c-d:e*", &"x".repeat(100)] {
            assert!(Scope::new(valid).is_ok(), "{valid}");
        }
        for invalid in ["", "Projects", "a b", "a\"b", "é", &"x".repeat(101)] {
            assert!(Scope::new(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn new_rejects_too_many_or_duplicate_scopes() {
        let many: Vec<_> = (0..101).map(|n| Scope::new(&format!("s{n}")).unwrap()).collect();
        assert!(Scopes::new(many.clone()).is_err());
        assert!(Scopes::new(many[..100].to_vec()).is_ok());
        assert!(Scopes::new(vec![many[0].clone(), many[1].clone(), many[0].clone()]).is_err());
    }

    #[test]
    fn contains_matches_exactly() {
        let scopes = Scopes::from_untrusted_lossy(["projects:*", "projects:read"]);
        assert!(scopes.contains("projects:read"));
        assert!(!scopes.contains("projects:write"));
        assert!(!scopes.contains("projects"));
    }
}
