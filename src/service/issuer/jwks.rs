//! JWKS: the public keys of an issuer (RFC 7517), each with what it may be used for.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;

use crate::service::issuer::algorithm;

/// Above what issuers publish; bounds the search for every token.
const MAX_KEYS: usize = 100;
/// NIST SP 800-131A; the upper bound is that of the library.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key that verifies tokens.
pub struct Key {
    /// `None` for a key that was not published as a JWK.
    jwk: Option<Jwk>,
    /// The algorithms of its type, narrowed by its `alg` if it has one.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize, PartialEq, Eq)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Parses a JWKS and returns its usable keys. Others are skipped (RFC 7517, section 5): an issuer may publish keys for
/// encryption, or of later types, besides those that sign.
pub fn parse(text: &[u8]) -> Result<Vec<Arc<Key>>, &'static str> {
    let Jwks { keys } = serde_json::from_slice(text).map_err(|_| "no JSON object with an array `keys`")?;
    if keys.len() > MAX_KEYS {
        return Err("more than 100 keys");
    }
    let usable = keys.into_iter().filter_map(|jwk| serde_json::from_value(jwk).ok().and_then(Key::from_jwk));
    Ok(usable.map(Arc::new).collect())
}

impl Key {
    /// A key without a `kid`.
    pub fn fixed(key: DecodingKey, algorithm: Algorithm) -> Self {
        Self { jwk: None, algorithms: vec![algorithm], key }
    }

    fn from_jwk(jwk: Jwk) -> Option<Self> {
        let signs = jwk.r#use.as_deref().is_none_or(|r#use| r#use == "sig");
        let verifies = jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|o| o == "verify"));
        if !signs || !verifies {
            return None;
        }
        let (mut algorithms, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (jwk.n.as_deref()?, jwk.e.as_deref()?);
                RSA_BITS.contains(&bits(n)?).then_some(())?;
                use Algorithm::{PS256, PS384, PS512, RS256, RS384, RS512};
                let key = DecodingKey::from_rsa_components(n, e).ok()?;
                (vec![RS256, RS384, RS512, PS256, PS384, PS512], key)
            }
            ("EC", Some("P-256")) => (vec![Algorithm::ES256], ec(&jwk, 32)?),
            ("EC", Some("P-384")) => (vec![Algorithm::ES384], ec(&jwk, 48)?),
            ("OKP", Some("Ed25519")) => {
                let x = jwk.x.as_deref().filter(|x| is_of_length(x, 32))?;
                (vec![Algorithm::EdDSA], DecodingKey::from_ed_components(x).ok()?)
            }
            _ => return None,
        };
        if let Some(name) = &jwk.alg {
            let only = algorithm(name)?;
            algorithms.retain(|algorithm| *algorithm == only);
        }
        (!algorithms.is_empty()).then_some(Self { jwk: Some(jwk), algorithms, key })
    }

    /// The `kid` by which tokens select the key.
    pub fn id(&self) -> Option<&str> {
        self.jwk.as_ref().and_then(|jwk| jwk.kid.as_deref())
    }

    /// True if tokens with this `alg` may be signed by the key.
    pub fn may_sign_with(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// True if the key may sign with the algorithm and the signature (base64url) of the signing input is its own.
    pub fn verify_signature(&self, signing_input: &[u8], signature: &str, algorithm: Algorithm) -> bool {
        self.may_sign_with(algorithm)
            && crypto::verify(signature, signing_input, &self.key, algorithm).is_ok_and(|is_valid| is_valid)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.jwk.is_some() && self.jwk == other.jwk
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id()).field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

fn bits(number: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(number).ok()?;
    let first = bytes.iter().position(|byte| *byte != 0)?;
    Some((bytes.len() - first) * 8 - bytes[first].leading_zeros() as usize)
}

fn is_of_length(text: &str, length: usize) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == length)
}

/// RFC 7518, section 6.2.1.2: coordinates have the full length of the curve.
fn ec(jwk: &Jwk, length: usize) -> Option<DecodingKey> {
    let (x, y) = (jwk.x.as_deref()?, jwk.y.as_deref()?);
    let full_length = is_of_length(x, length) && is_of_length(y, length);
    full_length.then(|| DecodingKey::from_ec_components(x, y).ok())?
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rsa(bits: usize) -> Value {
        let n = URL_SAFE_NO_PAD.encode(vec![0xff; bits / 8]);
        json!({ "kty": "RSA", "n": n, "e": "AQAB" })
    }

    fn okp() -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([1; 32]) })
    }

    fn ec(curve: &str, length: usize) -> Value {
        let coordinate = URL_SAFE_NO_PAD.encode(vec![1; length]);
        json!({ "kty": "EC", "crv": curve, "x": coordinate, "y": coordinate })
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn usable(keys: Vec<Value>) -> Vec<Arc<Key>> {
        parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn parse_allows_the_algorithms_of_each_key_type() {
        use Algorithm::{ES256, ES384, EdDSA, HS256, PS256, RS256};
        for (key, expected) in [
            (rsa(2048), vec![RS256, PS256]),
            (with(rsa(2048), "alg", json!("RS256")), vec![RS256]),
            (with(rsa(2048), "use", json!("sig")), vec![RS256, PS256]),
            (with(rsa(2048), "key_ops", json!(["verify"])), vec![RS256, PS256]),
            (ec("P-256", 32), vec![ES256]),
            (ec("P-384", 48), vec![ES384]),
            (okp(), vec![EdDSA]),
            (with(okp(), "alg", json!("Ed25519")), vec![EdDSA]),
        ] {
            let keys = usable(vec![key.clone()]);
            let may = |algorithm: &Algorithm| keys[0].may_sign_with(*algorithm);
            let allowed: Vec<_> = [RS256, PS256, ES256, ES384, EdDSA, HS256].into_iter().filter(may).collect();
            assert_eq!(allowed, expected, "{key}");
        }
    }

    #[test]
    fn parse_skips_unusable_keys() {
        let unusable = vec![
            rsa(1024),
            rsa(8200),
            with(rsa(2048), "alg", json!("ES256")),
            with(rsa(2048), "alg", json!("HS256")),
            with(rsa(2048), "alg", json!("RSA-OAEP")),
            with(rsa(2048), "use", json!("enc")),
            with(rsa(2048), "key_ops", json!(["sign"])),
            with(rsa(2048), "n", json!("?")),
            ec("P-256", 31),
            ec("P-521", 66),
            with(okp(), "crv", json!("X25519")),
            json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
            json!({ "kty": "RSA" }),
            json!("a key"),
        ];
        assert!(usable(unusable).is_empty());
        for bad in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
