//! Token: a JWS in compact form (RFC 7515, section 7.1), parsed and not verified yet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::json::strict::{OnDuplicate, parse_object};
use crate::service::issuer::TokenType;
use crate::service::issuer::algorithm::Algorithm;
use crate::service::issuer::rejection::{Excerpt, TokenRejection};

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
    pub fn parse(token: &'t str) -> Option<Self> {
        let (signing_input, signature) = token.rsplit_once('.')?;
        let (header, claims) = signing_input.split_once('.').filter(|(_, claims)| !claims.contains('.'))?;
        let part = |text| parse_object(&URL_SAFE_NO_PAD.decode(text).ok()?, OnDuplicate::Fail).ok();
        Some(Self { signing_input, signature, header: Header(part(header)?), claims: part(claims)? })
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
    /// The algorithm, if it is asymmetric and supported.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.0.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name)
    }

    /// A field's value for a log line.
    pub fn excerpt(&self, name: &str) -> Excerpt {
        Excerpt::of(self.0.get(name))
    }

    /// Checks that the token is an access token without extensions, and returns its `kid`.
    pub fn check(&self, expected: TokenType) -> Result<Option<&str>, TokenRejection> {
        // RFC 7515, section 4.1.11: an extension that is not implemented must not be ignored. None is, the unencoded
        // payload of RFC 7797 among them.
        if self.0.contains_key("crit") || self.0.contains_key("b64") {
            return Err(TokenRejection::UnsupportedExtension);
        }
        match (self.0.get("typ"), expected) {
            (None, TokenType::Compatible) => {}
            (Some(Value::String(typ)), _) if is_access_token(typ) => {}
            (Some(Value::String(typ)), TokenType::Compatible) if typ.eq_ignore_ascii_case("JWT") => {}
            _ => return Err(TokenRejection::WrongTyp(self.excerpt("typ"))),
        }
        match self.0.get("kid") {
            None => Ok(None),
            Some(Value::String(id)) => Ok(Some(id)),
            Some(_) => Err(TokenRejection::InvalidClaim("kid")),
        }
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
        let Some(token) = UnverifiedToken::parse(text) else { return false };
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
