//! JWKS: the public keys of an issuer as it publishes them (RFC 7517).

use std::sync::Arc;

use serde::Deserialize;

use crate::service::issuer::algorithm::Algorithm;
use crate::service::issuer::jwk::{Key, UnusableKey};

/// Above what issuers publish; bounds the search for every token.
const MAX_KEYS: usize = 100;

/// The keys of a JWKS. An issuer may publish keys for encryption, or of later types, besides those that sign (RFC 7517,
/// section 5): they are not used.
#[derive(Debug, Default)]
pub struct KeySet {
    pub keys: Vec<Arc<Key>>,
    pub unusable: Vec<UnusableKey>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Parses a JWKS whose keys may sign by the allowed algorithms.
    pub fn parse(text: &[u8], allowed: &[Algorithm]) -> Result<Self, &'static str> {
        let Jwks { keys } =
            serde_json::from_slice(without_byte_order_mark(text)).map_err(|_| "no JSON object with an array `keys`")?;
        if keys.len() > MAX_KEYS {
            return Err("more than 100 keys");
        }
        let mut set = Self::default();
        for jwk in keys {
            match Key::from_jwk(jwk, allowed) {
                Ok(key) => set.keys.push(key.into()),
                Err(unusable) => set.unusable.push(unusable),
            }
        }
        Ok(set)
    }

    /// The error is the reason why there is no key to verify tokens with.
    pub fn check(&self) -> Result<(), String> {
        if !self.keys.is_empty() {
            return Ok(());
        }
        let published = self.unusable.iter().map(UnusableKey::to_string).collect::<Vec<_>>();
        match published.len() {
            0 => Err("it publishes no keys".to_owned()),
            number => Err(format!("none of its {number} keys can be used: {}", shortened(&published, 3))),
        }
    }
}

/// The first items, and how many there are more.
pub fn shortened(items: &[String], shown: usize) -> String {
    let list = items[..items.len().min(shown)].join("; ");
    match items.len().saturating_sub(shown) {
        0 => list,
        more => format!("{list}; and {more} more"),
    }
}

/// A reader may ignore the mark (RFC 8259, section 8.1), which some editors and file servers add.
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn okp(kid: &str) -> serde_json::Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": "A".repeat(43) })
    }

    #[test]
    fn parse_keeps_usable_keys_and_names_the_others() {
        let text = json!({ "keys": [okp("a"), { "kty": "RSA", "kid": "b" }, okp("a"), "c"] }).to_string();
        for text in [text.clone(), format!("\u{feff}{text}"), format!("\r\n {text}\n")] {
            let set = KeySet::parse(text.as_bytes(), &Algorithm::ALL).unwrap();
            assert_eq!(set.keys.iter().map(|key| key.id()).collect::<Vec<_>>(), [Some("a"), Some("a")]);
            assert_eq!(set.unusable.iter().map(UnusableKey::id).collect::<Vec<_>>(), [Some("b"), None]);
            assert!(set.check().is_ok());
        }
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert!(KeySet::parse(bad.as_bytes(), &Algorithm::ALL).is_err(), "{bad}");
        }
        let many = json!({ "keys": vec![json!({}); MAX_KEYS + 1] }).to_string();
        assert_eq!(KeySet::parse(many.as_bytes(), &Algorithm::ALL).err(), Some("more than 100 keys"));
    }

    #[test]
    fn check_of_a_set_without_usable_keys_says_why() {
        let check = |keys: serde_json::Value, allowed: &[Algorithm]| {
            KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), allowed).unwrap().check().unwrap_err()
        };
        assert_eq!(check(json!([]), &Algorithm::ALL), "it publishes no keys");
        let reason = check(json!([okp("a"), okp("b"), {}, {}, {}]), &[Algorithm::Rs256]);
        assert!(reason.starts_with("none of its 5 keys can be used: the key with kid \"a\""), "{reason}");
        assert!(reason.contains("`algorithms` allows RS256") && reason.ends_with("; and 2 more"), "{reason}");
    }
}
