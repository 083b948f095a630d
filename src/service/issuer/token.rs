//! Token: a JWS in its compact form (RFC 7515, section 7.1), taken apart and not believed yet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use crate::json::strict::{OnDuplicate, parse_object};
use crate::service::issuer::{TokenType, algorithm};

pub struct UnverifiedToken<'t> {
    signed: &'t str,
    signature: &'t str,
    header: Header,
    claims: Map<String, Value>,
}

/// What the header says of the token. Where it says to look for a key (`jku`, `jwk`, `x5u`, `x5c`), nobody looks: the
/// sender of a token cannot say whom to believe. `kid` is a name to compare and nothing else.
pub struct Header(Map<String, Value>);

impl<'t> UnverifiedToken<'t> {
    pub fn parse(token: &'t str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        // More than three parts are another serialization, an encrypted token for one.
        let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.'))?;
        let part = |text| parse_object(&URL_SAFE_NO_PAD.decode(text).ok()?, OnDuplicate::Fail).ok();
        Some(Self { signed, signature, header: Header(part(header)?), claims: part(claims)? })
    }

    /// Who is said to have made the token: enough to choose whose keys it is held against.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub fn signed(&self) -> &'t [u8] {
        self.signed.as_bytes()
    }

    pub fn signature(&self) -> &'t str {
        self.signature
    }
}

impl Header {
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.0.get("alg").and_then(Value::as_str).and_then(algorithm)
    }

    /// The name of the key, if the header gives one.
    pub fn check(&self, expected: TokenType) -> Result<Option<&str>, &'static str> {
        // RFC 7515, section 4.1.11: an extension that is not understood must not be passed over, and none is
        // understood, the unencoded payload of RFC 7797 among them.
        if self.0.contains_key("crit") || self.0.contains_key("b64") {
            return Err("the header demands an extension");
        }
        match (self.0.get("typ"), expected) {
            (None, TokenType::Lenient) => {}
            (Some(Value::String(typ)), _) if is_access_token(typ) => {}
            (Some(Value::String(typ)), TokenType::Lenient) if typ.eq_ignore_ascii_case("JWT") => {}
            _ => return Err("the header's typ is not that of an access token"),
        }
        match self.0.get("kid") {
            None => Ok(None),
            Some(Value::String(id)) => Ok(Some(id)),
            Some(_) => Err("a kid that is no string"),
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

    /// Whether the issuer believes the text. Its keys are at hand, so nothing is waited for.
    fn is_believed(issuer: &TrustedIssuer, text: &str, now: DateTime<Utc>) -> bool {
        let Some(token) = UnverifiedToken::parse(text) else { return false };
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(issuer.verify(&token, now)).is_ok()
    }

    proptest! {
        #[test]
        fn a_token_that_was_changed_anywhere_is_not_believed(
            place in any::<prop::sample::Index>(),
            length in 0_usize..4,
            instead in "[A-Za-z0-9_.=+/ \u{e9}-]{0,4}",
        ) {
            let key = SigningKey::from_pem(&SigningKey::generate_pem().unwrap()).unwrap();
            let now = DateTime::from_timestamp(1_000, 0).unwrap();
            let alice = TokenSubject { subject: "alice", scopes: "projects:read", organization: None };
            let token = key.token(&alice, Duration::from_secs(60), now).unwrap();
            prop_assert!(is_believed(&key.trusted(), &token, now));

            let start = place.index(token.len());
            let end = (start + length).min(token.len());
            let changed = format!("{}{instead}{}", &token[..start], &token[end..]);
            prop_assert_eq!(is_believed(&key.trusted(), &changed, now), changed == token, "{}", changed);
        }
    }
}
