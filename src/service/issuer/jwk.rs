//! Jwk: one public key of an issuer (RFC 7517), with what it may be used for; or why it cannot be used.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::domain::excerpt::Excerpt;
use crate::service::issuer::algorithm::{Algorithm, Curve, PublicKey, names};

/// NIST SP 800-131A; the upper bound is that of the library.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The members of a JWK that make it another key when they change.
const USED: [&str; 8] = ["kid", "kty", "crv", "alg", "n", "e", "x", "y"];

/// The members that hold the private part of a key (RFC 7518, section 6).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// A public key that verifies tokens.
#[derive(Debug)]
pub struct Key {
    /// `None` for a key that was not published as a JWK.
    jwk: Option<Map<String, Value>>,
    /// The algorithms of its type, narrowed by its `alg` if it has one, and by those that the issuer may use.
    algorithms: Vec<Algorithm>,
    key: PublicKey,
}

/// A published key that verifies no tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableKey {
    kid: Option<String>,
    /// What it is: `kid`, `kty`, `crv` and `alg`.
    description: String,
    why: Cow<'static, str>,
    /// True if it is published for encryption, and so is not expected to verify tokens.
    pub is_for_encryption: bool,
}

impl Key {
    /// A key without a `kid`.
    pub fn fixed(key: PublicKey) -> Self {
        Self { jwk: None, algorithms: key.algorithms(), key }
    }

    /// The key of a JWK, for the allowed algorithms.
    pub fn from_jwk(jwk: Value, allowed: &[Algorithm]) -> Result<Self, UnusableKey> {
        match jwk {
            Value::Object(mut jwk) => {
                let (algorithms, key) = usable(&jwk, allowed).map_err(|why| UnusableKey::new(&jwk, why))?;
                jwk.retain(|name, _| USED.contains(&&**name));
                Ok(Self { jwk: Some(jwk), algorithms, key })
            }
            _ => Err(UnusableKey::new(&Map::new(), "it is not a JSON object".into())),
        }
    }

    /// The `kid` by which tokens select the key.
    pub fn id(&self) -> Option<&str> {
        self.jwk.as_ref()?.get("kid")?.as_str()
    }

    /// True if tokens with this `alg` may be signed by the key.
    pub fn may_sign_with(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// True if the key may sign with the algorithm and the signature (base64url) of the signing input is its own.
    pub fn verify_signature(&self, signing_input: &[u8], signature: &str, algorithm: Algorithm) -> bool {
        self.may_sign_with(algorithm)
            && URL_SAFE_NO_PAD
                .decode(signature)
                .is_ok_and(|signature| self.key.verify(algorithm, signing_input, &signature))
    }
}

/// Two published keys are the same if all used members are.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.jwk.is_some() && self.jwk == other.jwk
    }
}

impl UnusableKey {
    fn new(jwk: &Map<String, Value>, why: Cow<'static, str>) -> Self {
        let described =
            ["kid", "kty", "crv", "alg"].map(|name| Some(format!("{name} {}", Excerpt::of(Some(jwk.get(name)?)))));
        let is_other_use =
            |name: &str, ours: &str| jwk.get(name).is_some_and(|value| value.is_string() && value != ours);
        let is_for_encryption = is_other_use("use", "sig") || !verifies(jwk) || is_key_management(jwk);
        let kid = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
        let description = described.into_iter().flatten().collect::<Vec<_>>().join(", ");
        Self { kid, description, why, is_for_encryption }
    }

    /// The `kid` by which tokens would select the key.
    pub fn id(&self) -> Option<&str> {
        self.kid.as_deref()
    }
}

/// `the key with kid "a", kty "EC": its point is not on the curve`, for log lines.
impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.description.as_str() {
            "" => write!(f, "a key: {}", self.why),
            description => write!(f, "the key with {description}: {}", self.why),
        }
    }
}

/// True if the library verifies signatures by this RSA exponent.
fn is_supported_exponent(e: &[u8]) -> bool {
    let value = e.iter().take(9).fold(0_u128, |value, byte| value << 8 | u128::from(*byte));
    value % 2 == 1 && (3..1 << 33).contains(&value)
}

/// Returns the key and what it may sign by, or why it is not used.
fn usable(jwk: &Map<String, Value>, allowed: &[Algorithm]) -> Result<(Vec<Algorithm>, PublicKey), Cow<'static, str>> {
    let text = |name: &'static str| match jwk.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("its `{name}` is not a string")),
    };
    text("kid")?;
    if let Some(other) = text("use")?.filter(|r#use| *r#use != "sig") {
        return Err(format!("its `use` is {}, not \"sig\"", Excerpt::of_text(Some(other))).into());
    }
    if !verifies(jwk) {
        return Err("its `key_ops` does not contain \"verify\"".into());
    }
    if PRIVATE.iter().any(|private| jwk.get(*private).is_some_and(|value| !value.is_null())) {
        return Err(
            "it is published with its private part, so that anyone can sign by it; replace the key, and publish \
                    the public part alone"
                .into(),
        );
    }
    let required = |name: &'static str| text(name)?.ok_or_else(|| Cow::from(format!("it has no `{name}`")));
    let number = |name: &'static str| -> Result<Vec<u8>, Cow<'static, str>> {
        let bytes = decode_base64url(name, required(name)?)?;
        Ok(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
    };
    let key = match required("kty")? {
        "RSA" => {
            let (n, e) = (number("n")?, number("e")?);
            let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
            if !RSA_BITS.contains(&bits) {
                return Err(format!("it has {bits} bits; an RSA key must have 2048 to 8192").into());
            }
            if !is_supported_exponent(&e) || n.last().is_none_or(|last| last % 2 == 0) {
                return Err("its modulus or exponent is even, or the exponent is not between 3 and 2^33".into());
            }
            PublicKey::rsa(n, e).ok_or("its modulus or exponent is not that of an RSA key")?
        }
        "EC" => {
            let curve = Curve::from_name(required("crv")?).ok_or("its curve is not P-256, P-384 or P-521")?;
            let (x, y) = (coordinate("x", number("x")?, curve)?, coordinate("y", number("y")?, curve)?);
            PublicKey::elliptic(curve, &x, &y).ok_or("its point is not on the curve")?
        }
        "OKP" if required("crv")? == "Ed25519" => {
            let x = decode_base64url("x", required("x")?)?;
            PublicKey::ed25519(&x).ok_or_else(|| format!("its `x` has {} bytes, not the 32 of Ed25519", x.len()))?
        }
        "OKP" => return Err("its curve is not Ed25519".into()),
        _ => return Err("its type is not RSA, EC or OKP".into()),
    };
    let mut algorithms = key.algorithms();
    if let Some(name) = text("alg")? {
        let only = Algorithm::from_name(name).filter(|only| algorithms.contains(only));
        let possible = names(&algorithms);
        algorithms = vec![only.ok_or_else(|| format!("its `alg` is not one that such a key signs by: {possible}"))?];
    }
    let possible = names(&algorithms);
    algorithms.retain(|algorithm| allowed.contains(algorithm));
    if algorithms.is_empty() {
        let possible = possible.replace(' ', " or ");
        return Err(format!(
            "it signs by {possible}, and the issuer's option `algorithms` allows {}; add one, if the tokens have that `alg`",
            names(allowed)
        )
        .into());
    }
    Ok((algorithms, key))
}

/// True unless `key_ops` says that the key does other things than verify.
fn verifies(jwk: &Map<String, Value>) -> bool {
    let operations = jwk.get("key_ops").filter(|operations| !operations.is_null());
    operations.is_none_or(|operations| operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify")))
}

/// True for a key with an `alg` that encrypts keys (RFC 7518, section 4.1).
fn is_key_management(jwk: &Map<String, Value>) -> bool {
    let alg = jwk.get("alg").and_then(Value::as_str).unwrap_or_default();
    ["RSA-OAEP", "RSA1_5", "ECDH-ES", "A128", "A192", "A256", "dir"].iter().any(|prefix| alg.starts_with(prefix))
}

/// Decodes base64url. RFC 7515, section 2, leaves the padding out; some issuers write it.
fn decode_base64url(name: &str, text: &str) -> Result<Vec<u8>, Cow<'static, str>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| format!("its `{name}` is not base64url").into())
}

/// Adds the leading zero bytes that the coordinate has to have (RFC 7518, section 6.2.1.2). Some issuers leave them out:
/// the number is the same.
fn coordinate(name: &str, number: Vec<u8>, curve: Curve) -> Result<Vec<u8>, Cow<'static, str>> {
    let length = curve.coordinate_length();
    let missing = length.checked_sub(number.len());
    let missing =
        missing.ok_or_else(|| format!("its `{name}` has {} bytes, not the {length} of the curve", number.len()))?;
    Ok([vec![0; missing], number].concat())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    };
    use serde_json::json;

    use super::*;

    fn rsa(bits: usize) -> Value {
        let n = [vec![0xff; bits / 8]].concat();
        json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": "AQAB" })
    }

    fn okp() -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([1; 32]) })
    }

    fn signing(curve: &str) -> &'static EcdsaSigningAlgorithm {
        match curve {
            "P-256" => &ECDSA_P256_SHA256_FIXED_SIGNING,
            "P-384" => &ECDSA_P384_SHA384_FIXED_SIGNING,
            _ => &ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }

    /// The coordinates of a new key.
    fn point(curve: &str) -> [Vec<u8>; 2] {
        let pair = EcdsaKeyPair::generate(signing(curve)).unwrap();
        let point = &pair.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        [x.to_vec(), y.to_vec()]
    }

    fn of_point(curve: &str, [x, y]: &[Vec<u8>; 2]) -> Value {
        json!({ "kty": "EC", "crv": curve, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
    }

    fn ec(curve: &str) -> Value {
        of_point(curve, &point(curve))
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn why(jwk: Value) -> String {
        Key::from_jwk(jwk, &Algorithm::ALL).unwrap_err().to_string()
    }

    #[test]
    fn from_jwk_allows_the_algorithms_of_the_type() {
        for (key, expected) in [
            (rsa(2048), "RS256 RS384 RS512 PS256 PS384 PS512"),
            (rsa(8192), "RS256 RS384 RS512 PS256 PS384 PS512"),
            (with(rsa(2048), "alg", json!("RS256")), "RS256"),
            (with(rsa(2048), "use", json!("sig")), "RS256 RS384 RS512 PS256 PS384 PS512"),
            (with(rsa(2048), "key_ops", json!(["verify"])), "RS256 RS384 RS512 PS256 PS384 PS512"),
            (with(rsa(2048), "x5c", json!(["MIIB"])), "RS256 RS384 RS512 PS256 PS384 PS512"),
            (ec("P-256"), "ES256"),
            (ec("P-384"), "ES384"),
            (ec("P-521"), "ES512"),
            (okp(), "EdDSA"),
            (with(okp(), "alg", json!("Ed25519")), "EdDSA"),
            (with(okp(), "alg", Value::Null), "EdDSA"),
            (with(okp(), "d", Value::Null), "EdDSA"),
        ] {
            let usable = Key::from_jwk(key.clone(), &Algorithm::ALL).unwrap_or_else(|unusable| panic!("{unusable}"));
            assert_eq!(names(&usable.algorithms), expected, "{key}");
        }
        let only = Key::from_jwk(rsa(2048), &[Algorithm::Es256, Algorithm::Ps256]).unwrap();
        assert_eq!(names(&only.algorithms), "PS256");
    }

    #[test]
    fn from_jwk_takes_numbers_of_any_length() {
        for curve in ["P-256", "P-384", "P-521"] {
            let is_short = |[x, y]: &[Vec<u8>; 2]| x[0] == 0 || y[0] == 0;
            let full = std::iter::repeat_with(|| point(curve)).find(is_short).unwrap();
            let short = full.clone().map(|bytes| bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<_>>());
            let long = full.clone().map(|bytes| [vec![0], bytes].concat());
            for coordinates in [full, short, long] {
                let key = Key::from_jwk(of_point(curve, &coordinates), &Algorithm::ALL);
                assert!(key.is_ok(), "{curve} {coordinates:?}: {}", key.unwrap_err());
            }
        }
        let padded = format!("{}=", okp()["x"].as_str().unwrap());
        assert!(Key::from_jwk(with(okp(), "x", json!(padded)), &Algorithm::ALL).is_ok());
        let signed = URL_SAFE_NO_PAD.encode([vec![0], vec![0xff; 256]].concat());
        assert!(Key::from_jwk(with(rsa(2048), "n", json!(signed)), &Algorithm::ALL).is_ok());
    }

    #[test]
    fn from_jwk_says_why_a_key_cannot_be_used() {
        let [x, y] = point("P-256");
        for (jwk, expected) in [
            (rsa(1024), "1024 bits"),
            (rsa(8200), "8200 bits"),
            (rsa(0), "0 bits"),
            (with(rsa(2048), "alg", json!("ES256")), "`alg` is not one that such a key signs by: RS256 RS384"),
            (with(rsa(2048), "alg", json!("HS256")), "`alg` is not one"),
            (with(rsa(2048), "alg", json!("RSA-OAEP")), "`alg` is not one"),
            (with(rsa(2048), "alg", json!(["RS256"])), "`alg` is not a string"),
            (with(rsa(2048), "kid", json!(1)), "`kid` is not a string"),
            (with(rsa(2048), "use", json!("enc")), "`use` is \"enc\""),
            (with(rsa(2048), "key_ops", json!(["sign"])), "`key_ops`"),
            (with(rsa(2048), "key_ops", json!("verify")), "`key_ops`"),
            (with(rsa(2048), "n", json!("?")), "`n` is not base64url"),
            (with(rsa(2048), "n", json!("a+b/")), "`n` is not base64url"),
            (with(rsa(2048), "d", json!("AQ")), "private part"),
            (with(rsa(2048), "dp", json!("AQ")), "private part"),
            (with(rsa(2048), "e", json!("AQ")), "exponent"),
            (with(rsa(2048), "e", json!("Ag")), "exponent"),
            (with(rsa(2048), "e", json!("AgAAAAE")), "exponent"),
            (with(rsa(2048), "e", json!("AAECAwQFBgcICQoLDA0ODw")), "exponent"),
            (with(rsa(2048), "n", json!(URL_SAFE_NO_PAD.encode([0xfe; 256]))), "modulus"),
            (of_point("P-256", &[x[1..].to_vec(), y.clone()]), "not on the curve"),
            (of_point("P-256", &[vec![1; 33], y.clone()]), "`x` has 33 bytes, not the 32"),
            (of_point("P-384", &[x, y]), "not on the curve"),
            (with(ec("P-256"), "crv", json!("secp256k1")), "not P-256, P-384 or P-521"),
            (with(ec("P-256"), "alg", json!("ES384")), "signs by: ES256"),
            (with(okp(), "crv", json!("X25519")), "not Ed25519"),
            (with(okp(), "crv", json!("Ed448")), "not Ed25519"),
            (with(okp(), "x", json!(URL_SAFE_NO_PAD.encode([1; 31]))), "31 bytes"),
            (json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }), "not RSA, EC or OKP"),
            (json!({ "kty": "AKP", "alg": "ML-DSA-44" }), "not RSA, EC or OKP"),
            (json!({ "kty": "RSA", "x5c": ["MIIB"] }), "it has no `n`"),
            (json!({}), "it has no `kty`"),
            (json!("a key"), "not a JSON object"),
        ] {
            let shown = why(jwk.clone());
            assert!(shown.contains(expected), "{jwk}: {shown}");
            assert!(!shown.contains("c2VjcmV0"), "{shown}");
        }
        let disallowed = Key::from_jwk(ec("P-521"), &[Algorithm::Rs256, Algorithm::Es256]).unwrap_err().to_string();
        assert!(disallowed.contains("signs by ES512") && disallowed.contains("allows RS256 ES256"), "{disallowed}");
    }

    #[test]
    fn unusable_key_names_itself_and_tells_encryption_apart() {
        let key = |alg: &str| json!({ "kty": "RSA", "kid": "a\nb", "alg": alg });
        let shown = why(key("RS256"));
        assert_eq!(shown, r#"the key with kid "a\nb", kty "RSA", alg "RS256": it has no `n`"#);
        assert_eq!(why(json!({})), "a key: it has no `kty`");
        for (jwk, expected) in [
            (key("RS256"), false),
            (key("RSA-OAEP-256"), true),
            (key("ECDH-ES+A128KW"), true),
            (with(key("RS256"), "use", json!("enc")), true),
            (with(key("RS256"), "key_ops", json!(["encrypt"])), true),
            (with(okp(), "crv", json!("X25519")), false),
        ] {
            let unusable = Key::from_jwk(jwk.clone(), &Algorithm::ALL).unwrap_err();
            assert_eq!(unusable.is_for_encryption, expected, "{jwk}");
        }
    }
}
