//! Scope: what an API key may be used for, matched exactly (RFC 6749, section 3.3, in a narrower alphabet).

use crate::domain::validation::ValidationError;
use serde::{Deserialize, Serialize};

/// 1 to 100 of `a-z 0-9 : . _ - *`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope(String);

impl Scope {
    pub const MAX: usize = 100;

    pub fn new(text: &str) -> Result<Self, ValidationError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b":._-*".contains(&b);
        if (1..=Self::MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValidationError::new("must be 1 to 100 characters of a-z, 0-9, ':', '.', '_', '-' and '*'"))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the scope is one of this service's own, which only a caller who holds it can grant.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("api-keys:")
    }
}

/// At most 100 scopes, each once, in the order they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    pub const MAX: usize = 100;

    pub fn new(scopes: Vec<Scope>) -> Result<Self, ValidationError> {
        if scopes.len() > Self::MAX {
            return Err(ValidationError::new("must hold at most 100 scopes"));
        }
        let mut sorted: Vec<_> = scopes.iter().collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(ValidationError::new("must hold each scope once"));
        }
        Ok(Self(scopes))
    }

    /// Scopes as a token or a stored key carries them; one that is not in our alphabet can match nothing and is left out.
    pub fn from_untrusted_lossy<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(texts.into_iter().filter_map(|text| Scope::new(text).ok()).collect())
    }

    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|held| held.as_str() == scope)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

/// The scopes that guard this service's own operations.
pub mod reserved {
    pub const READ: &str = "api-keys:read";
    pub const WRITE: &str = "api-keys:write";
    pub const VERIFY: &str = "api-keys:verify";
    pub const ADMIN: &str = "api-keys:admin";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_plain_words_of_at_most_100_characters() {
        for good in ["projects:read", "*", "a.b_c-d:e*", &"x".repeat(100)] {
            assert!(Scope::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Projects", "a b", "a\"b", "é", &"x".repeat(101)] {
            assert!(Scope::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_set_of_scopes_is_bounded_and_has_no_twins() {
        let many: Vec<_> = (0..101).map(|n| Scope::new(&format!("s{n}")).unwrap()).collect();
        assert!(Scopes::new(many.clone()).is_err());
        assert!(Scopes::new(many[..100].to_vec()).is_ok());
        assert!(Scopes::new(vec![many[0].clone(), many[1].clone(), many[0].clone()]).is_err());
    }

    #[test]
    fn matching_is_exact() {
        let scopes = Scopes::from_untrusted_lossy(["projects:*", "projects:read"]);
        assert!(scopes.contains("projects:read"));
        assert!(!scopes.contains("projects:write"));
        assert!(!scopes.contains("projects"));
    }
}
