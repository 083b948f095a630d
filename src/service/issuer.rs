//! Issuer: one whose access tokens are believed, and the checks that a token has to pass.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::bearer::{BearerError, VerifiedToken};
use crate::domain::caller::{Caller, Credential, Owner};
use crate::domain::scope::Scopes;

/// The longest `iss` and `sub` that can own a key; OpenID Connect Core, section 2, allows a `sub` of 255.
const MAX_NAME: usize = 255;

pub struct TrustedIssuer {
    pub issuer: String,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
    validation: Validation,
}

/// Whether a subject or an organisation can own a key.
pub fn is_nameable(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.contains(char::is_control)
}

/// The claims that are read; the rest of a token is ignored. Types are strict: an `exp` that is a string is no `exp`.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    scope: Option<String>,
    org: Option<String>,
}

impl TrustedIssuer {
    pub fn new(issuer: &str, audience: &str, algorithm: Algorithm, key: DecodingKey) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        // Times are checked below, by the service's clock.
        validation.validate_exp = false;
        Self { issuer: issuer.to_owned(), algorithm, key, validation }
    }

    /// RFC 9068, section 4.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<VerifiedToken, BearerError> {
        let header = decode_header(token).map_err(|_| BearerError::Rejected("not a JWT"))?;
        let is_access_token = header
            .typ
            .as_deref()
            .is_some_and(|typ| typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt"));
        if !is_access_token {
            return Err(BearerError::Rejected("the header's typ is not at+jwt"));
        }
        // RFC 7515, section 4.1.11: an extension that is not understood must not be passed over, and none is.
        if header.crit.is_some() {
            return Err(BearerError::Rejected("the header demands an extension"));
        }
        let claims = decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|_| BearerError::Rejected("wrong signature, algorithm, issuer, audience or claim type"))?
            .claims;
        let expires_at = numeric_date(claims.exp).ok_or(BearerError::Rejected("an exp that is no time"))?;
        if expires_at <= now {
            return Err(BearerError::Rejected("expired"));
        }
        if claims.nbf.is_some_and(|nbf| numeric_date(nbf).is_none_or(|nbf| now < nbf)) {
            return Err(BearerError::Rejected("not valid yet"));
        }
        if !is_nameable(&claims.sub) || !claims.org.as_deref().is_none_or(is_nameable) {
            return Err(BearerError::Rejected("a subject or organisation that cannot own a key"));
        }
        let caller = Caller {
            owner: Owner { issuer: claims.iss, subject: claims.sub, organization: claims.org },
            scopes: Scopes::carried(claims.scope.as_deref().unwrap_or_default().split_ascii_whitespace()),
            credential: Credential::Token,
        };
        Ok(VerifiedToken { caller: caller.into(), expires_at })
    }
}

/// Seconds since the epoch, which may have a fraction (RFC 7519, section 2).
fn numeric_date(seconds: f64) -> Option<DateTime<Utc>> {
    let micros = seconds * 1e6;
    (micros.abs() < 1e18).then_some(micros as i64).and_then(DateTime::from_timestamp_micros)
}
