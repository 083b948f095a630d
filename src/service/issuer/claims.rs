//! Claims: what a token says of its user, once it is known to be meant for us and for now. Types are strict: an `exp`
//! that is a string is no `exp`.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::domain::owner::Owner;
use crate::domain::scope::Scopes;
use crate::service::issuer::{TokenType, TrustedIssuer, is_valid_identifier};

pub struct Claims {
    pub owner: Owner,
    pub scopes: Scopes,
    /// When the token is no good any more, the leeway added.
    pub expires_at: DateTime<Utc>,
}

/// What an ID token (OpenID Connect Core, sections 2 and 3.3.2.11) or a logout token holds and an access token does not.
const OTHER_TOKENS: [&str; 4] = ["nonce", "at_hash", "c_hash", "events"];

impl Claims {
    pub fn check(
        claims: &Map<String, Value>,
        issuer: &TrustedIssuer,
        now: DateTime<Utc>,
    ) -> Result<Self, &'static str> {
        if text(claims, "iss")? != Some(&issuer.issuer) {
            return Err("another issuer");
        }
        if !audience(claims, &issuer.audience) {
            return Err("another audience");
        }
        if issuer.token_type == TokenType::Lenient && is_of_another_kind(claims) {
            return Err("an ID token, or another that is no access token");
        }
        // RFC 7800: the token is good only together with a key that its holder proves to have, which a bearer does not.
        if claims.contains_key("cnf") {
            return Err("a token that is bound to a key");
        }
        let expires_at = time(claims, "exp")?.ok_or("no exp")? + issuer.leeway;
        if expires_at <= now {
            return Err("expired");
        }
        time(claims, "iat")?;
        if time(claims, "nbf")?.is_some_and(|nbf| now + issuer.leeway < nbf) {
            return Err("not valid yet");
        }
        let subject = text(claims, "sub")?.ok_or("no sub")?;
        let organization = match issuer.organization.as_deref().and_then(|path| find(claims, path)) {
            None => None,
            Some(Value::String(name)) => Some(name.as_str()),
            Some(_) => return Err("an organisation that is no string"),
        };
        if !is_valid_identifier(subject) || !organization.is_none_or(is_valid_identifier) {
            return Err("a subject or organisation that cannot own a key");
        }
        Ok(Self {
            owner: Owner {
                issuer: issuer.issuer.clone(),
                subject: subject.to_owned(),
                organization: organization.map(ToOwned::to_owned),
            },
            scopes: scopes(claims, issuer.scopes.as_deref())?,
            expires_at,
        })
    }
}

fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Option<&'c str>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("a claim that is no string"),
    }
}

/// RFC 7519, section 4.1.3: one string, or an array of them.
fn audience(claims: &Map<String, Value>, ours: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(audience)) => audience == ours,
        Some(Value::Array(audiences)) => {
            audiences.iter().all(Value::is_string) && audiences.iter().any(|audience| audience == ours)
        }
        _ => false,
    }
}

/// Cognito says it in `token_use`, Keycloak in a claim `typ`; the others by what they add.
fn is_of_another_kind(claims: &Map<String, Value>) -> bool {
    let says = |name: &str, access: &str| {
        claims.get(name).is_some_and(|value| !value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(access)))
    };
    OTHER_TOKENS.iter().any(|claim| claims.contains_key(*claim)) || says("token_use", "access") || says("typ", "Bearer")
}

fn scopes(claims: &Map<String, Value>, path: Option<&str>) -> Result<Scopes, &'static str> {
    let found = match path {
        Some(path) => find(claims, path),
        None => claims.get("scope").or_else(|| claims.get("scp")),
    };
    match found {
        None => Ok(Scopes::default()),
        Some(Value::String(list)) => Ok(Scopes::from_untrusted_lossy(list.split_ascii_whitespace())),
        Some(Value::Array(list)) => {
            let list: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
            list.map(Scopes::from_untrusted_lossy).ok_or("a list of scopes that holds something else")
        }
        Some(_) => Err("scopes that are neither a string nor a list"),
    }
}

/// The claim of this name, which may itself have dots as URLs do; else the one to which the dots lead.
fn find<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    claims.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, step| value.as_object()?.get(step))
    })
}

/// Seconds since the epoch, which may have a fraction (RFC 7519, section 2).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<DateTime<Utc>>, &'static str> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let micros = value.as_f64().ok_or("a time that is no number")? * 1e6;
    let time = (micros.abs() < 1e18).then_some(micros as i64).and_then(DateTime::from_timestamp_micros);
    time.map(Some).ok_or("a time that is none")
}
