//! Scope: a permission of an API key, matched exactly (RFC 6749, section 3.3).

use crate::domain::secret::Secret;
use crate::domain::validation::ValidationError;
use serde::{Deserialize, Serialize};

/// 1 to 255 visible ASCII characters without `"` and `\`: a `scope-token` of RFC 6749. Case matters, and no character
/// has a meaning of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope(String);

impl Scope {
    /// In characters.
    pub const MAX: usize = 255;

    /// Checks length and alphabet.
    pub fn new(text: &str) -> Result<Self, ValidationError> {
        let allowed = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if !(1..=Self::MAX).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err(ValidationError::new(
                "must be 1 to 255 visible ASCII characters, without spaces, '\"' and '\\'",
            ));
        }
        // Responses and logs name scopes.
        if Secret::is_in(text) {
            return Err(ValidationError::new("must not contain an API key"));
        }
        Ok(Self(text.to_owned()))
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

/// At most 100 distinct scopes of 10,000 characters in all, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Maximum number of scopes.
    pub const MAX: usize = 100;
    /// Of all scopes together: proxies with common settings take a header of this size.
    pub const MAX_CHARACTERS: usize = 10_000;

    /// Checks number, size and uniqueness.
    pub fn new(scopes: Vec<Scope>) -> Result<Self, ValidationError> {
        if scopes.len() > Self::MAX {
            return Err(ValidationError::new("must contain at most 100 scopes"));
        }
        if scopes.iter().map(|scope| scope.0.len()).sum::<usize>() > Self::MAX_CHARACTERS {
            return Err(ValidationError::new("must contain at most 10,000 characters in all"));
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

/// What a verification requires of a key's scopes.
#[derive(Debug, Default)]
pub struct RequiredScopes {
    /// The key must have all of these.
    pub all_of: Scopes,
    /// If given, the key must have at least one of these.
    pub any_of: Option<Scopes>,
}

impl RequiredScopes {
    /// True if a key with these scopes meets the requirement.
    pub fn are_in(&self, held: &Scopes) -> bool {
        let is_held = |scope: &Scope| held.contains(scope.as_str());
        self.all_of.iter().all(is_held) && self.any_of.as_ref().is_none_or(|any_of| any_of.iter().any(is_held))
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
    use proptest::prelude::*;

    use super::*;
    use crate::domain::secret::Entropy;

    #[test]
    fn new_takes_the_scope_tokens_of_rfc_6749() {
        for code in 0..=255_u32 {
            let is_token = code == 0x21 || (0x23..=0x5b).contains(&code) || (0x5d..=0x7e).contains(&code);
            let text = char::from_u32(code).unwrap().to_string();
            assert_eq!(Scope::new(&text).is_ok(), is_token, "{code:#x}");
        }
        let of_other_services = [
            "User.Read",
            "api://0b1c/Projects.Read.All",
            "https://api.example.com/orders",
            "https://www.googleapis.com/auth/drive.readonly",
            "server/scope",
            "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory",
            "repo:org/name:pull,push",
            "*",
        ];
        for text in of_other_services.into_iter().chain([&*"~".repeat(255)]) {
            assert_eq!(Scope::new(text).unwrap().as_str(), text);
        }
        for text in ["", "a b", " a", "a\n", "é", &"x".repeat(256)] {
            assert!(Scope::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn new_rejects_text_with_a_secret() {
        let secret = Secret::mint(&"mk".parse().unwrap(), &Entropy::fixed([7; 32]), chrono::DateTime::UNIX_EPOCH);
        for text in [secret.expose().to_owned(), format!("https://a.example/?key={}&b", secret.expose())] {
            let error = Scope::new(&text).unwrap_err().to_string();
            assert_eq!(error, "must not contain an API key");
        }
    }

    #[test]
    fn new_rejects_too_many_large_or_duplicate_scopes() {
        let many: Vec<_> = (0..101).map(|n| Scope::new(&format!("s{n}")).unwrap()).collect();
        assert!(Scopes::new(many.clone()).is_err());
        assert!(Scopes::new(many[..100].to_vec()).is_ok());
        assert!(Scopes::new(vec![many[0].clone(), many[1].clone(), many[0].clone()]).is_err());
        let of_100 = |n: usize| Scope::new(&format!("{n:0>100}")).unwrap();
        let mut largest: Vec<_> = (0..100).map(of_100).collect();
        assert!(Scopes::new(largest.clone()).is_ok());
        largest[0] = Scope::new(&"x".repeat(101)).unwrap();
        assert!(Scopes::new(largest).unwrap_err().to_string().contains("10,000 characters"));
    }

    #[test]
    fn contains_matches_exactly() {
        let scopes = Scopes::from_untrusted_lossy(["projects:*", "projects:read", "User.Read", "%41"]);
        for held in ["projects:*", "projects:read", "User.Read", "%41"] {
            assert!(scopes.contains(held), "{held}");
        }
        for other in ["projects:write", "projects", "user.read", "USER.READ", "User.Read/", "*", "A", ""] {
            assert!(!scopes.contains(other), "{other}");
        }
    }

    #[test]
    fn is_reserved_is_decided_by_the_exact_prefix() {
        for (text, reserved) in [("api-keys:verify", true), ("api-keys:", true), ("API-KEYS:admin", false)] {
            assert_eq!(Scope::new(text).unwrap().is_reserved(), reserved, "{text}");
        }
    }

    #[test]
    fn required_scopes_are_all_of_these_and_any_of_those() {
        let scopes = |texts: &[&str]| Scopes::from_untrusted_lossy(texts.iter().copied());
        let held = scopes(&["a", "b", "c"]);
        let no_list: Option<&[&str]> = None;
        let met = |all_of: &[&str], any_of: Option<&[&str]>| {
            RequiredScopes { all_of: scopes(all_of), any_of: any_of.map(scopes) }.are_in(&held)
        };
        assert!(met(&[], no_list) && met(&["a", "b"], no_list) && !met(&["a", "x"], no_list));
        assert!(met(&[], Some(&["x", "c"])) && !met(&[], Some(&["x", "y"])));
        assert!(met(&["a"], Some(&["x", "b"])) && !met(&["x"], Some(&["a"])) && !met(&["a"], Some(&["x"])));
        assert!(!met(&[], Some(&[])), "no key has one of none");
    }

    proptest! {
        #[test]
        fn scopes_come_back_as_they_were_from_a_list_and_from_json(
            texts in prop::collection::btree_set("[!#-\\[\\]-~]{1,40}", 0..20)
        ) {
            let scopes: Vec<_> = texts.iter().map(|text| Scope::new(text).unwrap()).collect();
            let scopes = Scopes::new(scopes).unwrap();
            let listed: Vec<_> = scopes.iter().map(Scope::as_str).collect();
            let list = listed.join(" ");
            prop_assert_eq!(&Scopes::from_untrusted_lossy(list.split(' ')), &scopes);
            let json = serde_json::to_string(&listed).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Scopes>(&json).unwrap(), &scopes);
            prop_assert!(texts.iter().all(|text| scopes.contains(text)));
        }
    }
}
