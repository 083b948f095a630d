//! Token: a JWS in compact form (RFC 7515, section 7.1), parsed and not verified yet.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::domain::excerpt::Excerpt;
use crate::json::strict::{OnDuplicate, parse_object};
use crate::service::issuer::TokenType;
use crate::service::issuer::algorithm::{Algorithm, names};
use crate::service::issuer::jwk::Key;
use crate::service::issuer::rejection::{TokenFault, TokenRejection};

/// The parts of a token. Nothing in it is trusted.
pub struct UnverifiedToken<'t> {
    signing_input: &'t str,
    signature: &'t str,
    header: Header,
    claims: Map<String, Value>,
}

/// The header. `kid` selects one of the issuer's keys. Fields that locate a key elsewhere (`jku`, `jwk`, `x5u`, `x5c`)
/// are ignored: the sender of a token must not choose whom to trust.
pub struct Header(Map<String, Value>);

impl<'t> UnverifiedToken<'t> {
    /// Parses a token of three parts. Other serializations have more, an encrypted token for one.
    pub fn parse(token: &'t str) -> Result<Self, TokenRejection> {
        let parts: Vec<_> = token.splitn(6, '.').collect();
        let object = |part| parse_object(&URL_SAFE_NO_PAD.decode(part).ok()?, OnDuplicate::Fail).ok();
        let header = parts.first().and_then(&object);
        match (&parts[..], header) {
            // RFC 7516, section 4.1.2: `enc` makes it a JWE.
            (parts, Some(header)) if parts.len() == 5 || header.contains_key("enc") => Err(encrypted(&header)),
            ([_, claims, signature], Some(header)) => {
                let signing_input = &token[..token.len() - signature.len() - 1];
                let claims = object(claims).ok_or_else(|| malformed("the second part, its claims,"))?;
                Ok(Self { signing_input, signature, header: Header(header), claims })
            }
            ([_, _, _], None) => Err(malformed("the first part, its header,")),
            (parts, Some(_)) => {
                let seen = format!("it has the header of a JWT, and {} parts instead of 3", parts.len());
                Err(TokenRejection::new(TokenFault::NotAJwt, seen))
            }
            (_, None) => Err(TokenRejection::opaque()),
        }
    }

    /// The `iss` that the token claims: selects the keys that it is verified with.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The bytes that are signed (RFC 7515, section 5.2).
    pub fn signing_input(&self) -> &'t [u8] {
        self.signing_input.as_bytes()
    }

    /// The signature in base64url.
    pub fn signature(&self) -> &'t str {
        self.signature
    }
}

impl Header {
    /// The algorithm, if it is one of the allowed ones.
    pub fn allowed_algorithm(&self, allowed: &[Algorithm]) -> Result<Algorithm, TokenRejection> {
        let name = self.0.get("alg").and_then(Value::as_str);
        let known = name.and_then(Algorithm::from_name);
        known.filter(|algorithm| allowed.contains(algorithm)).ok_or_else(|| {
            let seen = format!("its `alg` is {}; its issuer's are {}", self.excerpt("alg"), names(allowed));
            let cure = match (known, name) {
                (Some(known), _) => {
                    format!("if the issuer signs by it, add it: algorithms={} {}", names(allowed), known.name())
                }
                (None, Some("HS256" | "HS384" | "HS512")) => {
                    "have the issuer sign by an asymmetric algorithm, such as RS256 \
                     or ES256: who can check a symmetric one can also forge tokens"
                        .to_owned()
                }
                (None, _) => format!("have the issuer sign by one of {}", names(&Algorithm::ALL)),
            };
            TokenRejection::new(TokenFault::AlgNotAllowed, seen).with_cure(cure)
        })
    }

    /// The rejection of a token whose signature none of these keys made.
    pub fn bad_signature(&self, algorithm: Algorithm, keys: &[Arc<Key>]) -> TokenRejection {
        let alg = algorithm.name();
        // Microsoft signs the tokens of its own APIs with a changed `nonce`, so that no other service can check them.
        if self.0.contains_key("nonce") {
            let seen =
                "its header has `nonce`, which makes it a token that only the API for which it was made can check";
            let cure =
                "with Entra ID, request a scope of this API, such as api://CLIENT-ID/.default, and none of Graph";
            return TokenRejection::new(TokenFault::BadSignature, seen).with_cure(cure);
        }
        let seen = match keys.iter().any(|key| key.may_sign_with(algorithm)) {
            true => format!("no key of its issuer made its signature (`alg` {alg}, `kid` {})", self.excerpt("kid")),
            false => format!("its issuer's key of `kid` {} does not sign by {alg}", self.excerpt("kid")),
        };
        TokenRejection::new(TokenFault::BadSignature, seen)
    }

    /// A field's value for a log line.
    pub fn excerpt(&self, name: &str) -> Excerpt {
        Excerpt::of(self.0.get(name))
    }

    /// Checks that the token is an access token without extensions, and returns its `kid`.
    pub fn check(&self, expected: TokenType) -> Result<Option<&str>, TokenRejection> {
        // RFC 7515, section 4.1.11: an extension that is not implemented must not be ignored. None is, the unencoded
        // payload of RFC 7797 among them.
        if let Some(name) = ["crit", "b64"].into_iter().find(|name| self.0.contains_key(*name)) {
            let seen = format!("its header has `{name}`, an extension that is not supported");
            return Err(TokenRejection::new(TokenFault::UnsupportedExtension, seen));
        }
        match (self.0.get("typ"), expected) {
            (None, TokenType::Compatible) => {}
            (Some(Value::String(typ)), _) if is_access_token(typ) => {}
            (Some(Value::String(typ)), TokenType::Compatible) if typ.eq_ignore_ascii_case("JWT") => {}
            (typ, _) => return Err(wrong_typ(typ)),
        }
        match self.0.get("kid") {
            None => Ok(None),
            Some(Value::String(id)) => Ok(Some(id)),
            Some(_) => {
                let seen = format!("its header's `kid` is {}, not a string", self.excerpt("kid"));
                Err(TokenRejection::new(TokenFault::InvalidClaim, seen))
            }
        }
    }
}

/// The rejection of a JWE. `alg` and `enc` are what the issuer's settings call them.
fn encrypted(header: &Map<String, Value>) -> TokenRejection {
    let [alg, enc] = ["alg", "enc"].map(|name| Excerpt::of(header.get(name)));
    let seen = format!("it is encrypted (JWE, `alg` {alg}, `enc` {enc})");
    TokenRejection::new(TokenFault::Encrypted, seen).with_cure(
        "switch the encryption of access tokens off at the issuer, or, as with Auth0, name this API in the request by \
         `audience`: what it encrypts is for itself",
    )
}

fn malformed(part: &str) -> TokenRejection {
    let seen =
        format!("it has the three parts of a JWT, but {part} is not base64url of a JSON object without duplicates");
    TokenRejection::new(TokenFault::NotAJwt, seen)
}

/// The rejection of a token whose `typ` is not that of an access token.
fn wrong_typ(typ: Option<&Value>) -> TokenRejection {
    let seen = format!("its header's `typ` is {}, not \"at+jwt\"", Excerpt::of(typ));
    let rejection = TokenRejection::new(TokenFault::WrongTyp, seen);
    let is_plain = typ.is_none_or(|typ| typ.as_str().is_some_and(|typ| typ.eq_ignore_ascii_case("JWT")));
    match is_plain {
        true => rejection.with_cure(
            "have the issuer make access tokens by RFC 9068, or add typ=compatible to its options, which then rejects \
             what looks like an ID token",
        ),
        false => rejection,
    }
}

fn is_access_token(typ: &str) -> bool {
    typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Utc};
    use proptest::prelude::*;

    use super::*;
    use crate::service::built_in_issuer::{SigningKey, TokenSubject};
    use crate::service::issuer::TrustedIssuer;

    /// True if the issuer accepts the token. Its keys are fixed, so nothing is fetched.
    fn is_accepted(issuer: &TrustedIssuer, text: &str, now: DateTime<Utc>) -> bool {
        let Ok(token) = UnverifiedToken::parse(text) else { return false };
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(issuer.verify(&token, now)).is_ok()
    }

    proptest! {
        #[test]
        fn verify_of_a_token_changed_anywhere_fails(
            place in any::<prop::sample::Index>(),
            length in 0_usize..4,
            instead in "[A-Za-z0-9_.=+/ \u{e9}-]{0,4}",
        ) {
            let key = SigningKey::from_pem(&SigningKey::generate_pem().unwrap()).unwrap();
            let now = DateTime::from_timestamp(1_000, 0).unwrap();
            let alice = TokenSubject { subject: "alice", scopes: "projects:read", organization: None };
            let token = key.token(&alice, Duration::from_secs(60), now).unwrap();
            prop_assert!(is_accepted(&key.as_trusted_issuer(), &token, now));

            let start = place.index(token.len());
            let end = (start + length).min(token.len());
            let changed = format!("{}{instead}{}", &token[..start], &token[end..]);
            prop_assert_eq!(is_accepted(&key.as_trusted_issuer(), &changed, now), changed == token, "{}", changed);
        }
    }
}
