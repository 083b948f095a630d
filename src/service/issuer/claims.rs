//! Claims: the contents of a token that is for this service and valid now. Types are strict: an `exp` that is a string
//! counts as invalid.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::domain::owner::Owner;
use crate::domain::scope::Scopes;
use crate::service::issuer::rejection::{Excerpt, TokenRejection};
use crate::service::issuer::{TokenType, TrustedIssuer, is_valid_identifier};

/// The claims that this service uses.
pub struct Claims {
    pub owner: Owner,
    pub scopes: Scopes,
    /// The leeway added.
    pub expires_at: DateTime<Utc>,
}

/// Claims of an ID token (OpenID Connect Core, sections 2 and 3.3.2.11) or a logout token, not of an access token.
const OTHER_TOKENS: [&str; 4] = ["nonce", "at_hash", "c_hash", "events"];

impl Claims {
    /// Checks everything but the signature.
    pub fn check(
        claims: &Map<String, Value>,
        issuer: &TrustedIssuer,
        now: DateTime<Utc>,
    ) -> Result<Self, TokenRejection> {
        if text(claims, "iss")? != Some(&issuer.issuer) {
            return Err(TokenRejection::UntrustedIssuer(Excerpt::of(claims.get("iss"))));
        }
        if !is_for(claims, &issuer.audiences) {
            return Err(TokenRejection::WrongAudience(Excerpt::of(claims.get("aud"))));
        }
        if issuer.token_type == TokenType::Compatible && is_other_token(claims) {
            return Err(TokenRejection::IdToken);
        }
        if let Some(path) = &issuer.required_claim
            && find_claim(claims, path).is_none_or(is_empty)
        {
            return Err(TokenRejection::MissingClaim(path.clone()));
        }
        if claims.contains_key("cnf") {
            return Err(TokenRejection::SenderConstrainedToken);
        }
        let expires_at = check_times(claims, issuer, now)?;
        Ok(Self { owner: owner(claims, issuer)?, scopes: scopes(claims, issuer.scopes.as_deref())?, expires_at })
    }
}

/// True for a value that says nothing: `null`, an empty string or an empty list.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Returns the expiry, the leeway added.
fn check_times(
    claims: &Map<String, Value>,
    issuer: &TrustedIssuer,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, TokenRejection> {
    let expires_at = time(claims, "exp")?.ok_or(TokenRejection::MissingExp)?;
    if expires_at + issuer.leeway <= now {
        return Err(TokenRejection::Expired(expires_at));
    }
    // Unused, but of the wrong type it shows a token that another library might read differently.
    time(claims, "iat")?;
    match time(claims, "nbf")? {
        Some(nbf) if now + issuer.leeway < nbf => Err(TokenRejection::NotYetValid(nbf)),
        _ => Ok(expires_at + issuer.leeway),
    }
}

fn owner(claims: &Map<String, Value>, issuer: &TrustedIssuer) -> Result<Owner, TokenRejection> {
    let subject = text(claims, "sub")?.ok_or(TokenRejection::MissingSub)?;
    let organization = match issuer.organization.as_deref().and_then(|path| find_claim(claims, path)) {
        None => None,
        Some(Value::String(name)) if is_valid_identifier(name) => Some(name.clone()),
        Some(_) => return Err(TokenRejection::InvalidClaim("organization")),
    };
    if !is_valid_identifier(subject) {
        return Err(TokenRejection::InvalidClaim("sub"));
    }
    Ok(Owner { issuer: issuer.issuer.clone(), subject: subject.to_owned(), organization })
}

fn text<'c>(claims: &'c Map<String, Value>, name: &'static str) -> Result<Option<&'c str>, TokenRejection> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenRejection::InvalidClaim(name)),
    }
}

/// True if `aud` contains one of the audiences. It is one string or an array of them (RFC 7519, section 4.1.3).
fn is_for(claims: &Map<String, Value>, ours: &[String]) -> bool {
    let is_ours = |audience: &Value| ours.iter().any(|ours| audience == ours);
    match claims.get("aud") {
        Some(Value::Array(audiences)) => audiences.iter().all(Value::is_string) && audiences.iter().any(is_ours),
        audience => audience.is_some_and(is_ours),
    }
}

/// True if the claims are those of an ID token or a logout token. Cognito marks the kind in `token_use`, Keycloak in a
/// claim `typ`; other providers add claims.
fn is_other_token(claims: &Map<String, Value>) -> bool {
    let is_marked = |name: &str, access: &str| {
        claims.get(name).is_some_and(|value| !value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(access)))
    };
    OTHER_TOKENS.iter().any(|claim| claims.contains_key(*claim))
        || is_marked("token_use", "access")
        || is_marked("typ", "Bearer")
}

fn scopes(claims: &Map<String, Value>, path: Option<&str>) -> Result<Scopes, TokenRejection> {
    let found = match path {
        Some(path) => find_claim(claims, path),
        None => claims.get("scope").or_else(|| claims.get("scp")),
    };
    match found {
        None => Ok(Scopes::default()),
        Some(Value::String(list)) => Ok(Scopes::from_untrusted_lossy(list.split_ascii_whitespace())),
        Some(Value::Array(list)) => {
            let list: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
            list.map(Scopes::from_untrusted_lossy).ok_or(TokenRejection::InvalidClaim("scopes"))
        }
        Some(_) => Err(TokenRejection::InvalidClaim("scopes")),
    }
}

/// Returns the claim of this name, which may contain dots as URLs do; otherwise follows the dots as a path.
fn find_claim<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    claims.get(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, step| value.as_object()?.get(step))
    })
}

/// Reads seconds since the epoch, which may have a fraction (RFC 7519, section 2).
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<DateTime<Utc>>, TokenRejection> {
    let invalid = || TokenRejection::InvalidClaim(name);
    let Some(value) = claims.get(name) else { return Ok(None) };
    let micros = value.as_f64().ok_or_else(invalid)? * 1e6;
    let time = (micros.abs() < 1e18).then_some(micros as i64).and_then(DateTime::from_timestamp_micros);
    time.map(Some).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::service::built_in_issuer::{AUDIENCE, ISSUER, SigningKey};

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn issuer() -> TrustedIssuer {
        SigningKey::from_pem(&SigningKey::generate_pem().unwrap()).unwrap().as_trusted_issuer()
    }

    fn check(token_type: TokenType, changes: Value) -> Result<Claims, TokenRejection> {
        check_for(&TrustedIssuer { token_type, ..issuer() }, changes)
    }

    /// Checks claims that are valid at this time but for the changed ones; `null` removes a claim.
    fn check_for(issuer: &TrustedIssuer, changes: Value) -> Result<Claims, TokenRejection> {
        let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": 1_000, "exp": 1_060 });
        let Value::Object(mut claims) = claims else { unreachable!() };
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.remove(name)),
                value => drop(claims.insert(name.clone(), value.clone())),
            }
        }
        Claims::check(&claims, issuer, at(1_000))
    }

    #[test]
    fn check_returns_the_code_of_the_first_broken_rule() {
        for (changes, code) in [
            (json!({ "iss": "https://other.example" }), "untrusted_issuer"),
            (json!({ "iss": 1 }), "invalid_claim"),
            (json!({ "aud": ["billing"] }), "wrong_audience"),
            (json!({ "aud": [AUDIENCE, 1] }), "wrong_audience"),
            (json!({ "aud": null }), "wrong_audience"),
            (json!({ "cnf": { "jkt": "x" } }), "sender_constrained_token"),
            (json!({ "exp": null }), "missing_exp"),
            (json!({ "exp": "1060" }), "invalid_claim"),
            (json!({ "exp": 1e30 }), "invalid_claim"),
            (json!({ "exp": 1_000 }), "expired"),
            (json!({ "iat": "now" }), "invalid_claim"),
            (json!({ "nbf": 1_001 }), "not_yet_valid"),
            (json!({ "sub": null }), "missing_sub"),
            (json!({ "sub": "a\nb" }), "invalid_claim"),
            (json!({ "sub": "a".repeat(256) }), "invalid_claim"),
            (json!({ "org": ["acme"] }), "invalid_claim"),
            (json!({ "scope": 1 }), "invalid_claim"),
            (json!({ "scope": ["a", 1] }), "invalid_claim"),
        ] {
            let rejection = check(TokenType::Strict, changes.clone()).err();
            let rejection = rejection.map(|rejection| rejection.to_string()).unwrap_or_default();
            assert_eq!(rejection.split(' ').next(), Some(code), "{changes}");
        }
    }

    #[test]
    fn check_of_a_compatible_issuer_rejects_other_tokens() {
        for changes in [json!({ "nonce": "n" }), json!({ "token_use": "id" }), json!({ "typ": "ID" })] {
            assert_eq!(check(TokenType::Compatible, changes.clone()).err(), Some(TokenRejection::IdToken), "{changes}");
            assert!(check(TokenType::Strict, changes).is_ok());
        }
        assert!(check(TokenType::Compatible, json!({ "token_use": "access", "typ": "bearer" })).is_ok());
    }

    #[test]
    fn check_rejects_tokens_without_the_required_claim() {
        let requires = |claim: &str| TrustedIssuer { required_claim: Some(claim.to_owned()), ..issuer() };
        for (claim, changes, is_valid) in [
            ("scp", json!({ "scp": "a" }), true),
            ("scp", json!({ "scp": "" }), false),
            ("scp", json!({ "scp": ["a"] }), true),
            ("scp", json!({ "scope": "a" }), false),
            ("scp", json!({ "realm": { "scp": "a" } }), false),
            ("realm.roles", json!({ "realm": { "roles": [] } }), false),
            ("realm.roles", json!({ "realm": { "roles": ["r"] } }), true),
            ("realm.roles", json!({ "realm": {} }), false),
            ("realm.roles", json!({ "realm": { "roles": null } }), false),
        ] {
            let expected = if is_valid { None } else { Some(TokenRejection::MissingClaim(claim.to_owned())) };
            assert_eq!(check_for(&requires(claim), changes.clone()).err(), expected, "{claim} in {changes}");
        }
    }

    #[test]
    fn check_reads_owner_scopes_and_expiry() {
        let claims = check(
            TokenType::Strict,
            json!({ "org": "acme", "scp": ["a", "b\"", "c d", "User.Read"], "aud": ["x", AUDIENCE] }),
        );
        let claims = claims.unwrap_or_else(|rejection| panic!("{rejection}"));
        assert_eq!((claims.owner.subject.as_str(), claims.owner.organization.as_deref()), ("alice", Some("acme")));
        assert_eq!(claims.scopes, Scopes::from_untrusted_lossy(["a", "User.Read"]));
        assert_eq!(claims.expires_at, at(1_060));
    }

    #[test]
    fn check_reads_scopes_as_each_provider_writes_them() {
        for (provider, path, changes, expected) in [
            ("Entra ID", None, json!({ "scp": "User.Read Projects.Read.All" }), ["User.Read", "Projects.Read.All"]),
            (
                "Google",
                None,
                json!({ "scope": "openid https://a.example/auth/b" }),
                ["openid", "https://a.example/auth/b"],
            ),
            ("Cognito", None, json!({ "scope": "server/read server/write" }), ["server/read", "server/write"]),
            ("Okta", None, json!({ "scp": ["openid", "orders+read"] }), ["openid", "orders+read"]),
            (
                "Auth0",
                Some("permissions"),
                json!({ "scope": "openid", "permissions": ["read:a", "W"] }),
                ["read:a", "W"],
            ),
            (
                "Keycloak",
                Some("realm_access.roles"),
                json!({ "realm_access": { "roles": ["Admin", "a b", "x"] } }),
                ["Admin", "x"],
            ),
        ] {
            let issuer = TrustedIssuer { scopes: path.map(str::to_owned), ..issuer() };
            let claims = check_for(&issuer, changes).unwrap_or_else(|rejection| panic!("{provider}: {rejection}"));
            assert_eq!(claims.scopes, Scopes::from_untrusted_lossy(expected), "{provider}");
        }
    }
}
