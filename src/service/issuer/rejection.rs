//! TokenRejection: why an access token is invalid, as a stable code for log lines.
//!
//! Never for the client: which check failed would help an attacker to craft the next token. Where the value that decided
//! is harmless and helps an operator (an issuer, an audience), it follows the code; never a credential.

use std::fmt;

use chrono::{DateTime, Utc};
use serde_json::Value;
use thiserror::Error;

use crate::domain::secret::Secret;

/// The first check that a token failed: its code, followed by the value that decided, as in
/// `wrong_audience ["https://api.example.com"]`. docs/troubleshooting.md explains each code.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenRejection {
    /// Not a JWS in compact form (RFC 7515, section 7.1) whose header and claims are JSON objects without duplicates.
    #[error("not_a_jwt")]
    NotAJwt,
    /// `iss` is no configured issuer, to the byte.
    #[error("untrusted_issuer {0}")]
    UntrustedIssuer(Excerpt),
    /// `alg` is missing, unknown, or not allowed for the issuer.
    #[error("alg_not_allowed {0}")]
    AlgNotAllowed(Excerpt),
    /// The header has `crit` or `b64`: an extension that is not implemented (RFC 7515, section 4.1.11).
    #[error("unsupported_extension")]
    UnsupportedExtension,
    /// The header's `typ` is not that of an access token (RFC 9068, section 2.1).
    #[error("wrong_typ {0}")]
    WrongTyp(Excerpt),
    /// A claim or header field has the wrong type or an impossible value.
    #[error("invalid_claim {0}")]
    InvalidClaim(&'static str),
    /// `aud` does not contain the configured audience.
    #[error("wrong_audience {0}")]
    WrongAudience(Excerpt),
    /// The claims are those of an ID token or a logout token.
    #[error("id_token")]
    IdToken,
    /// The claim that the issuer's setting `require` names is missing.
    #[error("missing_claim {0}")]
    MissingClaim(String),
    /// `cnf` binds the token to a key that the sender would have to prove (RFC 7800); a bearer does not.
    #[error("sender_constrained_token")]
    SenderConstrainedToken,
    /// No `exp`.
    #[error("missing_exp")]
    MissingExp,
    /// No `sub`.
    #[error("missing_sub")]
    MissingSub,
    /// `exp` has passed, the leeway added.
    #[error("expired {}", .0.to_rfc3339())]
    Expired(DateTime<Utc>),
    /// `nbf` is still to come, the leeway subtracted.
    #[error("not_yet_valid {}", .0.to_rfc3339())]
    NotYetValid(DateTime<Utc>),
    /// The issuer publishes no key with this `kid`.
    #[error("unknown_kid {0}")]
    UnknownKid(Excerpt),
    /// No key of the issuer verifies the signature.
    #[error("bad_signature")]
    BadSignature,
}

impl TokenRejection {
    /// A token of this `iss`.
    pub fn untrusted_issuer(issuer: Option<&str>) -> Self {
        Self::UntrustedIssuer(Excerpt::of_text(issuer))
    }
}

/// The beginning of a JSON value from a token that is not trusted, fit for a log line: escaped as JSON, at most 100
/// characters, and empty if it looks like a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// In characters.
    const MAX: usize = 100;

    /// Of a JSON value; `missing` if there is none.
    pub fn of(value: Option<&Value>) -> Self {
        let Some(value) = value else { return Self("missing".to_owned()) };
        let text = value.to_string();
        if text.contains("eyJ") || Secret::is_in(&text) {
            return Self("(looks like a credential)".to_owned());
        }
        match text.char_indices().nth(Self::MAX) {
            Some((end, _)) => Self(format!("{}...", &text[..end])),
            None => Self(text),
        }
    }

    /// Of a string; `missing` if there is none.
    pub fn of_text(text: Option<&str>) -> Self {
        Self::of(text.map(Value::from).as_ref())
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::secret::Entropy;

    #[test]
    fn display_shows_the_code_and_the_value_that_decided() {
        let audience = TokenRejection::WrongAudience(Excerpt::of(Some(&json!(["a", "b"]))));
        assert_eq!(audience.to_string(), r#"wrong_audience ["a","b"]"#);
        assert_eq!(TokenRejection::untrusted_issuer(None).to_string(), "untrusted_issuer missing");
        assert_eq!(TokenRejection::Expired(DateTime::UNIX_EPOCH).to_string(), "expired 1970-01-01T00:00:00+00:00");
        assert_eq!(TokenRejection::MissingClaim("scp".into()).to_string(), "missing_claim scp");
        assert_eq!(TokenRejection::BadSignature.to_string(), "bad_signature");
    }

    #[test]
    fn excerpt_is_short_escaped_and_never_a_credential() {
        let secret = Secret::mint(&"mk".parse().unwrap(), &Entropy::fixed([1; 32]), DateTime::UNIX_EPOCH);
        for credential in [secret.expose(), "eyJhbGciOiJFZERTQSJ9.e30.c2ln"] {
            let excerpt = TokenRejection::untrusted_issuer(Some(credential)).to_string();
            assert_eq!(excerpt, "untrusted_issuer (looks like a credential)");
        }
        let lines = TokenRejection::untrusted_issuer(Some("a\nlevel=INFO")).to_string();
        assert_eq!(lines, r#"untrusted_issuer "a\nlevel=INFO""#);
        assert_eq!(Excerpt::of_text(Some(&"é".repeat(200))).0.chars().count(), Excerpt::MAX + 3);
    }
}
