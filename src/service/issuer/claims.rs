//! Claims: the contents of a token that is for this service and valid now. Types are strict: an `exp` that is a string
//! counts as invalid.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value};

use crate::domain::excerpt::Excerpt;
use crate::domain::owner::Owner;
use crate::domain::scope::Scopes;
use crate::service::issuer::rejection::{TokenFault, TokenRejection};
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
            let seen = format!("its `iss` is {}", Excerpt::of(claims.get("iss")));
            return Err(TokenRejection::new(TokenFault::UntrustedIssuer, seen));
        }
        check_audience(claims, &issuer.audiences)?;
        if issuer.token_type == TokenType::Compatible {
            check_is_access_token(claims)?;
        }
        if let Some(path) = &issuer.required_claim
            && find_claim(claims, path).is_none_or(is_empty)
        {
            let rejection = TokenRejection::new(TokenFault::MissingClaim, format!("it has no claim `{path}`"));
            return Err(rejection.with_cure("the issuer's option `require` demands it"));
        }
        if claims.contains_key("cnf") {
            let seen = "it has `cnf`, which binds it to a key of its client (DPoP or mutual TLS)";
            let cure = "have the issuer make bearer tokens for this API";
            return Err(TokenRejection::new(TokenFault::SenderConstrained, seen).with_cure(cure));
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

/// Checks that `aud` contains one of the audiences. It is one string or an array of them (RFC 7519, section 4.1.3).
fn check_audience(claims: &Map<String, Value>, ours: &[String]) -> Result<(), TokenRejection> {
    let Some(audience) = claims.get("aud").filter(|audience| !is_empty(audience)) else {
        let seen = format!("it has no `aud`; this service accepts {}", quoted(ours));
        let cure = "have the issuer write it into access tokens for this API: a token without it is one for any API";
        return Err(TokenRejection::new(TokenFault::MissingAud, seen).with_cure(cure));
    };
    let is_ours = |audience: &Value| ours.iter().any(|ours| audience == ours);
    let (is_for_us, first) = match audience {
        Value::Array(all) => (all.iter().all(Value::is_string) && all.iter().any(is_ours), all.first()),
        one => (is_ours(one), Some(one)),
    };
    if is_for_us {
        return Ok(());
    }
    let seen = format!("its `aud` is {}; this service accepts {}", Excerpt::of(Some(audience)), quoted(ours));
    let rejection = TokenRejection::new(TokenFault::WrongAudience, seen);
    Err(match first.filter(|first| first.is_string()) {
        Some(first) => rejection.with_cure(format!(
            "if tokens for {} are meant for this service, add them to the issuer's options by audience=...",
            Excerpt::of(Some(first))
        )),
        None => rejection,
    })
}

/// The texts in quotation marks, separated by `or`.
fn quoted(texts: &[String]) -> String {
    texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" or ")
}

/// Returns the expiry, the leeway added.
fn check_times(
    claims: &Map<String, Value>,
    issuer: &TrustedIssuer,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, TokenRejection> {
    let missing = || TokenRejection::new(TokenFault::MissingExp, "it has no `exp`");
    let expires_at = time(claims, "exp")?.ok_or_else(missing)?;
    if expires_at + issuer.leeway <= now {
        let seen = format!("it expired at {}, {}", utc(expires_at), difference(expires_at, now, "ago"));
        return Err(TokenRejection::new(TokenFault::Expired, seen).with_cure(CLOCKS));
    }
    // Unused, but of the wrong type it shows a token that another library might read differently.
    time(claims, "iat")?;
    match time(claims, "nbf")? {
        Some(nbf) if now + issuer.leeway < nbf => {
            let seen = format!("it is not valid before {}, {}", utc(nbf), difference(now, nbf, "from now"));
            Err(TokenRejection::new(TokenFault::NotYetValid, seen).with_cure(CLOCKS))
        }
        _ => Ok(expires_at + issuer.leeway),
    }
}

/// The cure where only the time decides.
const CLOCKS: &str = "if the issuer has just made it, the clocks differ: synchronize them by NTP";

fn utc(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `3s ago by this server's clock`.
fn difference(earlier: DateTime<Utc>, later: DateTime<Utc>, direction: &str) -> String {
    let whole = Duration::from_secs((later - earlier).num_seconds().unsigned_abs());
    format!("{} {direction} by this server's clock", humantime::format_duration(whole))
}

fn owner(claims: &Map<String, Value>, issuer: &TrustedIssuer) -> Result<Owner, TokenRejection> {
    let missing = || {
        let cure = "have the issuer write the user's id there; tokens of the grant client_credentials may lack it";
        TokenRejection::new(TokenFault::MissingSub, "it has no `sub`").with_cure(cure)
    };
    let subject = text(claims, "sub")?.ok_or_else(missing)?;
    let organization = match issuer.organization.as_deref().map(|path| (path, find_claim(claims, path))) {
        None | Some((_, None)) => None,
        Some((_, Some(Value::String(name)))) if is_valid_identifier(name) => Some(name.clone()),
        Some((path, Some(value))) => return Err(invalid(path, value, IDENTIFIER)),
    };
    if !is_valid_identifier(subject) {
        return Err(invalid("sub", &claims["sub"], IDENTIFIER));
    }
    Ok(Owner { issuer: issuer.issuer.clone(), subject: subject.to_owned(), organization })
}

/// The rule of [`is_valid_identifier`].
const IDENTIFIER: &str = "a string of 1 to 255 bytes without control characters";

/// The rejection of a claim that breaks a rule.
fn invalid(name: &str, value: &Value, rule: &str) -> TokenRejection {
    let seen = format!("its `{name}` is {}, not {rule}", Excerpt::of(Some(value)));
    TokenRejection::new(TokenFault::InvalidClaim, seen)
}

fn text<'c>(claims: &'c Map<String, Value>, name: &'static str) -> Result<Option<&'c str>, TokenRejection> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(invalid(name, other, "a string")),
    }
}

/// Rejects claims of an ID token or a logout token. Cognito marks the kind in `token_use`, Keycloak in a claim `typ`;
/// other providers add claims.
fn check_is_access_token(claims: &Map<String, Value>) -> Result<(), TokenRejection> {
    let is_marked = |(name, access): &(&str, &str)| {
        claims.get(*name).is_some_and(|value| !value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(access)))
    };
    let mark = [("token_use", "access"), ("typ", "Bearer")].into_iter().find(is_marked);
    let seen = match (mark, OTHER_TOKENS.into_iter().find(|claim| claims.contains_key(*claim))) {
        (None, None) => return Ok(()),
        (Some((name, _)), _) => format!("its claim `{name}` is {}", Excerpt::of(claims.get(name))),
        (None, Some(name)) => format!("it has the claim `{name}`, as ID tokens and logout tokens have"),
    };
    Err(TokenRejection::new(TokenFault::IdToken, seen))
}

fn scopes(claims: &Map<String, Value>, path: Option<&str>) -> Result<Scopes, TokenRejection> {
    let (name, found) = match path {
        Some(path) => (path, find_claim(claims, path)),
        None if claims.contains_key("scope") => ("scope", claims.get("scope")),
        None => ("scp", claims.get("scp")),
    };
    let wrong = |value| invalid(name, value, "a string or a list of strings");
    match found {
        None => Ok(Scopes::default()),
        Some(Value::String(list)) => Ok(Scopes::from_untrusted_lossy(list.split_ascii_whitespace())),
        Some(value @ Value::Array(list)) => {
            let list: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
            list.map(Scopes::from_untrusted_lossy).ok_or_else(|| wrong(value))
        }
        Some(other) => Err(wrong(other)),
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
    let Some(value) = claims.get(name) else { return Ok(None) };
    let micros = value.as_f64().map(|seconds| seconds * 1e6).filter(|micros| micros.abs() < 1e18);
    let time = micros.and_then(|micros| DateTime::from_timestamp_micros(micros as i64));
    time.map(Some).ok_or_else(|| invalid(name, value, "a number of seconds since 1970"))
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
            (json!({ "aud": null }), "missing_aud"),
            (json!({ "aud": [] }), "missing_aud"),
            (json!({ "aud": "" }), "missing_aud"),
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
            assert_eq!(rejection.map(|rejection| rejection.fault.as_str()), Some(code), "{changes}");
        }
    }

    #[test]
    fn check_shows_the_value_that_decided_and_the_option() {
        for (changes, seen, cure) in [
            (
                json!({ "aud": ["b", "c"] }),
                r#"its `aud` is ["b","c"]; this service accepts "mintkey""#,
                "tokens for \"b\"",
            ),
            (json!({ "aud": 1 }), "its `aud` is 1; this service accepts", ""),
            (json!({ "aud": null }), r#"it has no `aud`; this service accepts "mintkey""#, "have the issuer write it"),
            (json!({ "exp": 400 }), "it expired at 1970-01-01T00:06:40Z, 10m ago by this server's clock", "NTP"),
            (json!({ "nbf": 1_031 }), "not valid before 1970-01-01T00:17:11Z, 31s from now", "NTP"),
            (json!({ "exp": "1060" }), r#"its `exp` is "1060", not a number of seconds"#, ""),
            (json!({ "sub": ["a"] }), r#"its `sub` is ["a"], not a string"#, ""),
            (json!({ "sub": null }), "it has no `sub`", "client_credentials"),
            (json!({ "org": 7 }), "its `org` is 7, not a string of 1 to 255 bytes", ""),
            (json!({ "scp": { "a": 1 } }), r#"its `scp` is {"a":1}, not a string or a list"#, ""),
            (json!({ "cnf": { "jkt": "x" } }), "it has `cnf`", "bearer"),
        ] {
            let rejection = check(TokenType::Strict, changes.clone()).err().unwrap();
            assert!(rejection.detail().contains(seen), "{changes}: {}", rejection.detail());
            assert!(rejection.to_string().contains(seen) && rejection.to_string().contains(cure), "{rejection}");
        }
    }

    #[test]
    fn check_of_a_compatible_issuer_rejects_other_tokens() {
        for changes in [json!({ "nonce": "n" }), json!({ "token_use": "id" }), json!({ "typ": "ID" })] {
            let rejection = check(TokenType::Compatible, changes.clone()).err().unwrap();
            assert_eq!(rejection.fault, TokenFault::IdToken, "{changes}");
            let name = changes.as_object().unwrap().keys().next().unwrap();
            assert!(rejection.detail().contains(&format!("`{name}`")), "{rejection}");
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
            let fault = check_for(&requires(claim), changes.clone()).err().map(|rejection| rejection.fault);
            let expected = if is_valid { None } else { Some(TokenFault::MissingClaim) };
            assert_eq!(fault, expected, "{claim} in {changes}");
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
