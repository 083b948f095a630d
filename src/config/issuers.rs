//! Settings of issuers: the OIDC providers whose access tokens are accepted, one issuer in one text.

use std::path::Path;

use chrono::TimeDelta;
use clap::Args;

use crate::config::{ConfigError, parse_lifetime, setting_name};
use crate::domain::issuer_policy::{Grants, IssuerPolicy};
use crate::domain::scope::Scopes;
use crate::domain::text_encoding::check_text_encoding;
use crate::service::built_in_issuer::SigningKey;
use crate::service::issuer::algorithm::{Algorithm, names};
use crate::service::issuer::discovery::Provider;
use crate::service::issuer::jwks::KeySet;
use crate::service::issuer::jwks_cache::JwksCache;
use crate::service::issuer::jwks_source::JwksSource;
use crate::service::issuer::{Client, TokenType, TrustedIssuer, is_valid_identifier};

/// One algorithm of each kind that is in use. A key can restrict itself further with its own `alg`.
const DEFAULT_ALGORITHMS: &str = "RS256 PS256 ES256 EdDSA";
/// How far the clocks of issuers, replicas and the database may differ.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(30);
/// For the error on a misspelled option.
const OPTION_NAMES: [&str; 16] = [
    "audience",
    "algorithms",
    "scopes",
    "organization",
    "typ",
    "require",
    "grants",
    "require-write",
    "max-lifetime",
    "operators",
    "jwks-uri",
    "jwks-file",
    "allow-http",
    "client-id",
    "client-scopes",
    "client-query",
];

#[derive(Args, Debug)]
#[command(next_help_heading = "Identity provider options")]
pub struct IssuerSettings {
    /// OIDC provider whose access tokens are accepted. Repeat for several; in the variable, separate them with `;`.
    ///
    /// The URL, exactly as in the `iss` claim, then options, separated by commas. Unless `grants` says otherwise, a token
    /// can put on keys the scopes that it has itself; if --allowed-scopes is set, the scopes of that list instead.
    ///
    /// audience=NAME: value that the `aud` claim must contain; required; repeat it to accept any of several
    /// algorithms=A B: allowed signature algorithms: RS, PS and ES with 256, 384 or 512, EdDSA [RS256 PS256 ES256 EdDSA]
    /// scopes=CLAIM: claim with scopes, such as realm_access.roles [scope, else scp]
    /// organization=CLAIM: claim with the organization, a part of the owner [none]
    /// typ=compatible: accept tokens whose `typ` is JWT or missing, unless they look like ID tokens [strict: only at+jwt]
    /// jwks-uri=URL: where the provider's keys are, if it is reached by another name than the issuer's; nothing else is
    /// fetched [from the metadata]
    /// jwks-file=PATH: file with the keys of a provider that cannot be reached
    /// allow-http: allow http:// URLs on other machines
    /// require=CLAIM: claim that a token must have, such as one that only access tokens have [none]
    /// grants=any|token|allowed-scopes: scopes that a token may put on keys: any, its own, or those of --allowed-scopes
    /// [allowed-scopes if --allowed-scopes is set, else token]
    /// require-write: a token needs the scope api-keys:write to create, change and rotate keys
    /// max-lifetime=DURATION: longest lifetime of a key, such as 30d, if shorter than --max-lifetime
    /// operators: administrators (api-keys:admin) reach the keys of every issuer and organization, not only of their own
    /// client-id=ID: client for signing in on /docs (authorization code with PKCE)
    /// client-scopes=A B: scopes requested on sign-in [openid]
    /// client-query=NAME=VALUE&...: extra authorization request parameters, such as resource or audience
    #[arg(
        long = "issuer",
        env = "MINTKEY_ISSUER",
        value_name = "URL,audience=NAME[,OPTION...]",
        value_delimiter = ';',
        value_parser = parse_issuer,
        verbatim_doc_comment
    )]
    issuers: Vec<ConfiguredIssuer>,

    /// Also accept tokens from `mintkey token` when --issuer is set.
    #[arg(long, env = "MINTKEY_STANDALONE_ISSUER", value_name = "BOOL")]
    standalone_issuer: bool,
}

impl IssuerSettings {
    /// True if tokens of the built-in issuer are accepted.
    pub fn accepts_built_in(&self) -> bool {
        self.standalone_issuer || self.issuers.is_empty()
    }

    /// Returns the configured issuers, and the built-in one if its key is given. `allowed_scopes` is the setting of that
    /// name.
    pub fn trusted(
        &self,
        built_in: Option<&SigningKey>,
        allowed_scopes: Option<&Scopes>,
    ) -> Result<Vec<TrustedIssuer>, ConfigError> {
        let setting = setting_name("issuer");
        let mut trusted: Vec<TrustedIssuer> = Vec::new();
        let configured: Result<Vec<_>, _> =
            self.issuers.iter().map(|issuer| issuer.resolve(allowed_scopes.is_some())).collect();
        for issuer in configured?.into_iter().chain(built_in.map(SigningKey::as_trusted_issuer)) {
            if trusted.iter().any(|other| other.issuer == issuer.issuer) {
                return Err(ConfigError(format!("{setting}: {} is given twice; give it once", issuer.issuer)));
            }
            trusted.push(issuer);
        }
        if trusted.iter().filter(|issuer| issuer.client.is_some()).count() > 1 {
            return Err(ConfigError(format!(
                "{setting}: several issuers have a client-id, but /docs signs in with one; keep one client-id"
            )));
        }
        Ok(trusted)
    }
}

/// An issuer whose `grants`, if not given, depends on another setting.
#[derive(Debug, Clone)]
struct ConfiguredIssuer {
    issuer: TrustedIssuer,
    grants: Option<Grants>,
}

impl ConfiguredIssuer {
    fn resolve(&self, has_allowed_scopes: bool) -> Result<TrustedIssuer, ConfigError> {
        let grants = match self.grants {
            Some(Grants::AllowedScopes) if !has_allowed_scopes => {
                return Err(ConfigError(format!(
                    "{}: {}: grants=allowed-scopes requires {}; set it, or choose grants=token or grants=any",
                    setting_name("issuer"),
                    self.issuer.issuer,
                    setting_name("allowed-scopes")
                )));
            }
            Some(grants) => grants,
            None if has_allowed_scopes => Grants::AllowedScopes,
            None => Grants::Token,
        };
        let policy = IssuerPolicy { grants, ..self.issuer.policy };
        Ok(TrustedIssuer { policy, ..self.issuer.clone() })
    }
}

fn parse_issuer(text: &str) -> Result<ConfiguredIssuer, String> {
    let (issuer, options) = parse_options(text)?;
    let grants = options.grants.map(parse_grants).transpose()?;
    Ok(ConfiguredIssuer { issuer: build_issuer(issuer, &options)?, grants })
}

fn parse_grants(text: &str) -> Result<Grants, String> {
    let expected = Grants::ALL.map(Grants::as_str).join(", ");
    Grants::parse(text).ok_or_else(|| format!("grants={text}: give one of {expected}"))
}

#[derive(Default)]
struct IssuerOptions<'t> {
    audiences: Vec<&'t str>,
    algorithms: Option<&'t str>,
    scopes: Option<&'t str>,
    organization: Option<&'t str>,
    typ: Option<&'t str>,
    jwks_uri: Option<&'t str>,
    jwks_file: Option<&'t str>,
    allow_http: bool,
    require: Option<&'t str>,
    grants: Option<&'t str>,
    require_write: bool,
    max_lifetime: Option<&'t str>,
    operators: bool,
    client_id: Option<&'t str>,
    client_scopes: Option<&'t str>,
    client_query: Option<&'t str>,
}

/// Splits the text of an issuer into its URL and its options.
fn parse_options(text: &str) -> Result<(&str, IssuerOptions<'_>), String> {
    let mut parts = text.trim().split(',');
    let issuer = parts.next().unwrap_or_default();
    if !is_valid_identifier(issuer) {
        return Err("begin with the issuer's URL, of at most 255 bytes".into());
    }
    let mut options = IssuerOptions::default();
    for option in parts {
        options.set(option)?;
    }
    Ok((issuer, options))
}

impl<'t> IssuerOptions<'t> {
    fn set(&mut self, option: &'t str) -> Result<(), String> {
        if let Some(flag) = self.flag(option) {
            *flag = true;
            return Ok(());
        }
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let field = match name.trim() {
            "audience" => return self.add_audience(value),
            "algorithms" => &mut self.algorithms,
            "scopes" => &mut self.scopes,
            "organization" => &mut self.organization,
            "typ" => &mut self.typ,
            "jwks-uri" => &mut self.jwks_uri,
            "jwks-file" => &mut self.jwks_file,
            "require" => &mut self.require,
            "grants" => &mut self.grants,
            "max-lifetime" => &mut self.max_lifetime,
            "client-id" => &mut self.client_id,
            "client-scopes" => &mut self.client_scopes,
            "client-query" => &mut self.client_query,
            name if self.flag(name).is_some() => return Err(format!("give {name} without a value")),
            _ => return Err(format!("unknown option `{option}`; the options are {}", OPTION_NAMES.join(", "))),
        };
        if value.is_empty() || field.replace(value).is_some() {
            return Err(format!("give {} once, with a value", name.trim()));
        }
        Ok(())
    }

    /// The one option that may be repeated: a provider names each of several applications in `aud`.
    fn add_audience(&mut self, audience: &'t str) -> Result<(), String> {
        if audience.is_empty() || self.audiences.contains(&audience) {
            return Err("give audience with a value, and each value once".into());
        }
        self.audiences.push(audience);
        Ok(())
    }

    /// The option of this name, if it has no value.
    fn flag(&mut self, name: &str) -> Option<&mut bool> {
        match name.trim() {
            "allow-http" => Some(&mut self.allow_http),
            "require-write" => Some(&mut self.require_write),
            "operators" => Some(&mut self.operators),
            _ => None,
        }
    }
}

fn build_issuer(issuer: &str, options: &IssuerOptions<'_>) -> Result<TrustedIssuer, String> {
    if options.audiences.is_empty() {
        return Err("add audience=NAME, the value that the aud claim must contain".into());
    }
    let algorithms = parse_algorithms(options.algorithms.unwrap_or(DEFAULT_ALGORITHMS))?;
    let client = login_client(options)?;
    let source = match (options.jwks_uri, options.jwks_file) {
        (Some(_), Some(_)) => return Err("give jwks-uri or jwks-file, not both".into()),
        (None, Some(_)) if options.allow_http => return Err("jwks-file fetches nothing; remove allow-http".into()),
        (Some(_), _) | (_, Some(_)) if client.is_some() => {
            return Err(
                "signing in requires the provider's metadata; remove jwks-uri and jwks-file, or client-id".into()
            );
        }
        (Some(url), None) => JwksSource::Provider(Provider::with_jwks_uri(url, options.allow_http)?),
        (None, Some(path)) => JwksSource::File(checked_jwks_file(Path::new(path), &algorithms)?.to_owned()),
        (None, None) => JwksSource::Provider(Provider::new(issuer, options.allow_http)?),
    };
    Ok(TrustedIssuer {
        issuer: issuer.to_owned(),
        audiences: options.audiences.iter().map(|audience| (*audience).to_owned()).collect(),
        token_type: match options.typ {
            None | Some("strict") => TokenType::Strict,
            Some("compatible") => TokenType::Compatible,
            Some(other) => return Err(format!("typ={other}: give one of strict, compatible")),
        },
        scopes: options.scopes.map(str::to_owned),
        organization: options.organization.map(str::to_owned),
        required_claim: options.require.map(str::to_owned),
        leeway: CLOCK_TOLERANCE,
        keys: JwksCache::new(issuer, source, algorithms),
        client,
        policy: IssuerPolicy {
            // Of the two, the stricter: `resolve` chooses.
            grants: Grants::Token,
            requires_write: options.require_write,
            max_lifetime: options.max_lifetime.map(parse_max_lifetime).transpose()?,
            operators: options.operators,
        },
    })
}

fn parse_max_lifetime(text: &str) -> Result<TimeDelta, String> {
    parse_lifetime(text).map_err(|rule| format!("max-lifetime={text}: {rule}"))
}

/// The client that /docs signs in with, if there is one.
fn login_client(options: &IssuerOptions<'_>) -> Result<Option<Client>, String> {
    let Some(id) = options.client_id else {
        return match options.client_scopes.or(options.client_query) {
            None => Ok(None),
            Some(_) => Err("client-scopes and client-query require client-id".into()),
        };
    };
    let scopes = options.client_scopes.unwrap_or("openid").split_whitespace().map(str::to_owned).collect();
    let query = form_urlencoded::parse(options.client_query.unwrap_or_default().as_bytes()).into_owned().collect();
    Ok(Some(Client { id: id.to_owned(), scopes, query }))
}

/// Checks that the file has a usable key, so that a mistake shows at startup.
fn checked_jwks_file<'p>(path: &'p Path, algorithms: &[Algorithm]) -> Result<&'p Path, String> {
    let read = std::fs::read(path).map_err(|error| error.to_string());
    let set = read.and_then(|text| {
        check_text_encoding(&text).map_err(|rule| format!("it {rule}"))?;
        KeySet::parse(&text, algorithms).map_err(str::to_owned)
    });
    match set.and_then(|set| set.check()) {
        Ok(()) => Ok(path),
        Err(reason) => Err(format!("{}: {reason}; give a file with the issuer's JWKS (RFC 7517)", path.display())),
    }
}

fn parse_algorithms(text: &str) -> Result<Vec<Algorithm>, String> {
    let algorithms: Option<Vec<_>> = text.split_whitespace().map(Algorithm::from_name).collect();
    algorithms.filter(|algorithms| !algorithms.is_empty()).ok_or_else(|| {
        format!("algorithms={text}: give asymmetric ones, separated by spaces: {}", names(&Algorithm::ALL))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(options: &str, has_allowed_scopes: bool) -> Result<TrustedIssuer, String> {
        let issuer = parse_issuer(&format!("https://id.example.com,audience=a{options}"))?;
        issuer.resolve(has_allowed_scopes).map_err(|error| error.to_string())
    }

    fn policy(options: &str, has_allowed_scopes: bool) -> IssuerPolicy {
        resolve(options, has_allowed_scopes).unwrap().policy
    }

    #[test]
    fn grants_default_to_the_allowed_scopes_or_to_the_token() {
        assert_eq!(policy("", false).grants, Grants::Token);
        assert_eq!(policy("", true).grants, Grants::AllowedScopes);
        for (text, grants) in
            [("any", Grants::Any), ("token", Grants::Token), ("allowed-scopes", Grants::AllowedScopes)]
        {
            assert_eq!(policy(&format!(",grants={text}"), true).grants, grants);
        }
        let error = resolve(",grants=allowed-scopes", false).unwrap_err();
        assert!(error.contains("--allowed-scopes (MINTKEY_ALLOWED_SCOPES)"), "{error}");
    }

    #[test]
    fn options_set_the_policy_and_the_required_claim() {
        let default = IssuerPolicy { grants: Grants::Token, ..IssuerPolicy::BUILT_IN };
        assert_eq!(policy("", false), default);
        assert_eq!(policy(",require-write", false), IssuerPolicy { requires_write: true, ..default });
        assert_eq!(policy(",operators", false), IssuerPolicy { operators: true, ..default });
        let month = Some(TimeDelta::days(30));
        assert_eq!(policy(",max-lifetime=30d", false), IssuerPolicy { max_lifetime: month, ..default });
        assert_eq!(resolve(",require=scp", false).unwrap().required_claim.as_deref(), Some("scp"));
    }

    #[test]
    fn audience_alone_may_be_repeated() {
        let issuer = resolve(",audience=b,audience=c", false).unwrap();
        assert_eq!(issuer.audiences, ["a", "b", "c"]);
        for (options, expected) in [
            (",audience=a", "each value once"),
            (",audience=", "with a value"),
            (",scopes=a,scopes=b", "give scopes once"),
            (",jwks-uri=https://a/,jwks-uri=https://b/", "give jwks-uri once"),
        ] {
            let error = resolve(options, false).unwrap_err();
            assert!(error.contains(expected), "{options}: {error}");
        }
    }

    #[test]
    fn jwks_uri_replaces_the_issuers_own_address() {
        for options in [",jwks-uri=https://keys.example.com/a?b=c", ",jwks-uri=http://keycloak:8080/certs,allow-http"] {
            assert!(resolve(options, false).is_ok(), "{options}");
        }
        assert!(parse_issuer("http://id.example.com,audience=a,jwks-uri=https://id.internal/jwks").is_ok());
        for (options, expected) in [
            (",jwks-uri=http://keycloak:8080/certs", "allow-http"),
            (",jwks-uri=keys", "give jwks-uri as a URL"),
            (",jwks-uri=https://a/,jwks-file=/a", "not both"),
            (",jwks-uri=https://a/,client-id=b", "remove jwks-uri"),
        ] {
            let error = resolve(options, false).unwrap_err();
            assert!(error.contains(expected), "{options}: {error}");
        }
    }

    #[test]
    fn set_knows_every_listed_option() {
        for name in OPTION_NAMES {
            let mut options = IssuerOptions::default();
            let is_known = options.set(name).is_ok() || options.set(&format!("{name}=x")).is_ok();
            assert!(is_known, "{name}");
        }
    }
}
