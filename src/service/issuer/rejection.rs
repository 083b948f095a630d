//! TokenRejection: why an access token is not accepted, with the value that decided and the cure.
//!
//! The sender of a token learns which check failed, with what the token has, which the sender knows already, and what the
//! token's issuer is configured with, which clients of this API know to get tokens. A forger learns nothing by it: no
//! check replaces the signature. The settings that would accept the token are for the log alone.

use std::fmt;

use crate::domain::text_enum::text_enum;

text_enum! {
    /// The first check that a token failed. docs/troubleshooting.md has the cure of each.
    pub enum TokenFault {
        /// Neither a JWT nor a key of this service.
        Opaque = "opaque_token",
        /// A JWE: a JWT that only the service with the private key can read (RFC 7516).
        Encrypted = "encrypted_token",
        /// Not a JWS in compact form (RFC 7515, section 7.1) whose header and claims are JSON objects without duplicates.
        NotAJwt = "not_a_jwt",
        /// `iss` is no configured issuer, to the byte.
        UntrustedIssuer = "untrusted_issuer",
        /// `alg` is missing, unknown, or not allowed for the issuer.
        AlgNotAllowed = "alg_not_allowed",
        /// The header has `crit` or `b64`: an extension that is not implemented (RFC 7515, section 4.1.11).
        UnsupportedExtension = "unsupported_extension",
        /// The header's `typ` is not that of an access token (RFC 9068, section 2.1).
        WrongTyp = "wrong_typ",
        /// A claim or header field has the wrong type or an impossible value.
        InvalidClaim = "invalid_claim",
        /// No `aud`.
        MissingAud = "missing_aud",
        /// `aud` contains none of the configured audiences.
        WrongAudience = "wrong_audience",
        /// The claims are those of an ID token or a logout token.
        IdToken = "id_token",
        /// The claim that the issuer's setting `require` names is missing.
        MissingClaim = "missing_claim",
        /// `cnf` binds the token to a key that the sender would have to prove (RFC 7800); a bearer does not.
        SenderConstrained = "sender_constrained_token",
        /// No `exp`.
        MissingExp = "missing_exp",
        /// `exp` has passed, the leeway added.
        Expired = "expired",
        /// `nbf` is still to come, the leeway subtracted.
        NotYetValid = "not_yet_valid",
        /// No `sub`.
        MissingSub = "missing_sub",
        /// The issuer publishes no key with this `kid`.
        UnknownKid = "unknown_kid",
        /// No key of the issuer verifies the signature.
        BadSignature = "bad_signature",
    }
}

impl TokenFault {
    /// What the sender of the token should do.
    const fn advice(self) -> &'static str {
        match self {
            Self::Opaque => "Send an access token that is a signed JWT, or an API key of this service.",
            Self::Encrypted => "Get an access token that is signed and not encrypted.",
            Self::NotAJwt | Self::BadSignature => "Send an access token exactly as the issuer made it.",
            Self::UntrustedIssuer => "Get an access token of an issuer that this service accepts.",
            Self::AlgNotAllowed | Self::UnsupportedExtension | Self::InvalidClaim | Self::MissingExp => {
                "Have the issuer configured to make other access tokens for this API."
            }
            Self::WrongTyp | Self::IdToken => "Send the access token, and no other token of the issuer.",
            Self::MissingAud | Self::WrongAudience => {
                "Request an access token for this API, with the parameter that the issuer has for it: `audience`, \
                 `resource` or `scope`."
            }
            Self::MissingClaim | Self::MissingSub => "Get an access token of a user, with the scopes of this API.",
            Self::SenderConstrained => "Get an access token that is not bound to a key.",
            Self::Expired | Self::UnknownKid => "Get a new access token.",
            Self::NotYetValid => "Send it later, or have the clocks corrected.",
        }
    }
}

/// A token that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRejection {
    pub fault: TokenFault,
    /// What is wrong, of which "it" is the token. Values of the token are excerpts.
    seen: String,
    /// The setting, of this service or of the issuer, that would make such tokens acceptable.
    cure: Option<String>,
}

impl TokenRejection {
    pub fn new(fault: TokenFault, seen: impl Into<String>) -> Self {
        Self { fault, seen: seen.into(), cure: None }
    }

    pub fn with_cure(self, cure: impl Into<String>) -> Self {
        Self { cure: Some(cure.into()), ..self }
    }

    /// A credential that is neither a JWT nor, as was found before or after, a key of this service.
    pub fn opaque() -> Self {
        let seen = "it is neither a JWT nor a key of this service, whose checksum would fit";
        Self::new(TokenFault::Opaque, seen).with_cure(
            "if it is an access token, have the issuer make signed JWTs for this API; many make opaque ones until a \
             request names an `audience` or `resource`; if it is a key, it was cut or altered",
        )
    }

    /// For the sender of the token: what is wrong and what to do.
    pub fn detail(&self) -> String {
        format!("The credential is not accepted: {}. {}", self.seen, self.fault.advice())
    }
}

/// For the log: what is wrong, and the settings to change.
impl fmt::Display for TokenRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.seen)?;
        self.cure.as_ref().map_or(Ok(()), |cure| write!(f, "; {cure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cure_is_for_the_log_alone() {
        let rejection =
            TokenRejection::new(TokenFault::WrongTyp, "its `typ` is missing").with_cure("add typ=compatible");
        assert_eq!(rejection.to_string(), "its `typ` is missing; add typ=compatible");
        let detail = "The credential is not accepted: its `typ` is missing. Send the access token, and no other token of \
                      the issuer.";
        assert_eq!(rejection.detail(), detail);
    }
}
