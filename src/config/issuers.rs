//! Issuers: whose access tokens are believed, each on one line.

use std::path::PathBuf;

use chrono::TimeDelta;
use clap::Args;

use crate::config::ConfigError;
use crate::service::built_in_issuer::SigningKey;
use crate::service::issuer::discovery::Provider;
use crate::service::issuer::jwks_cache::{JwksCache, Source};
use crate::service::issuer::{self, Client, TokenType, TrustedIssuer, is_valid_identifier, jwks};

const ISSUER: &str = "--issuer (MINTKEY_ISSUER)";
/// One of each kind that is in use; a key says more narrowly what it is for.
const ALGORITHMS: &str = "RS256 PS256 ES256 EdDSA";
const LEEWAY: TimeDelta = TimeDelta::seconds(30);

#[derive(Args, Debug)]
pub struct IssuerSettings {
    /// OIDC provider whose access tokens are accepted; may be given several times, in the variable with `;` between.
    ///
    /// The URL, exactly as in the tokens' `iss`, then options, separated by commas:
    ///
    /// audience=NAME: what `aud` has to name; required
    /// algorithms=A B: what may sign [RS256 PS256 ES256 EdDSA]
    /// scopes=CLAIM: holds the scopes, such as realm_access.roles [scope, else scp]
    /// organization=CLAIM: holds the organisation [none]
    /// typ=compatible: takes tokens whose `typ` is JWT or missing, unless they look like ID tokens [strict: at+jwt alone]
    /// jwks-file=PATH: keys of a provider that cannot be reached
    /// allow-http: takes an http:// URL beyond this machine
    /// client-id=ID: signs readers of /docs in, with code and PKCE
    /// client-scopes=A B: scopes that are asked for then [openid]
    /// client-query=NAME=VALUE&...: what is asked beside, such as resource or audience
    #[arg(
        long = "issuer",
        env = "MINTKEY_ISSUER",
        value_name = "URL,audience=NAME[,OPTION...]",
        value_delimiter = ';',
        value_parser = trusted_issuer,
        verbatim_doc_comment
    )]
    issuers: Vec<TrustedIssuer>,

    /// Accept tokens of `mintkey token` beside those of the issuers [default: only when there is no --issuer]
    #[arg(long, env = "MINTKEY_STANDALONE_ISSUER", value_name = "BOOL")]
    standalone_issuer: bool,
}

impl IssuerSettings {
    /// Whether tokens of this service's own issuer are believed.
    pub fn standalone(&self) -> bool {
        self.standalone_issuer || self.issuers.is_empty()
    }

    /// The issuers, and the standalone one, if it is on.
    pub fn trusted(&self, standalone: Option<&SigningKey>) -> Result<Vec<TrustedIssuer>, ConfigError> {
        let mut trusted: Vec<TrustedIssuer> = Vec::new();
        for issuer in self.issuers.iter().cloned().chain(standalone.map(SigningKey::trusted)) {
            if trusted.iter().any(|other| other.issuer == issuer.issuer) {
                return Err(ConfigError(format!("{ISSUER}: {} is given twice; give it once", issuer.issuer)));
            }
            trusted.push(issuer);
        }
        if trusted.iter().filter(|issuer| issuer.client.is_some()).count() > 1 {
            return Err(ConfigError(format!(
                "{ISSUER}: several have a client-id; the page signs in with one: keep one"
            )));
        }
        Ok(trusted)
    }
}

fn trusted_issuer(text: &str) -> Result<TrustedIssuer, String> {
    let mut parts = text.trim().split(',');
    let issuer = parts.next().unwrap_or_default();
    if !is_valid_identifier(issuer) {
        return Err("begin with the issuer's URL, of at most 255 bytes".into());
    }
    let mut options = Options::default();
    for option in parts {
        options.set(option)?;
    }
    let (keys, has_metadata) = match options.jwks_file {
        Some(_) if options.allow_http => return Err("nothing is fetched with jwks-file; leave allow-http out".into()),
        Some(path) => {
            let path = PathBuf::from(path);
            let cure = "give a file that holds the issuer's JWKS (RFC 7517)";
            let text = std::fs::read(&path).map_err(|error| format!("{}: {error}; {cure}", path.display()))?;
            let keys = jwks::parse(&text).map_err(|reason| format!("{}: {reason}; {cure}", path.display()))?;
            if keys.is_empty() {
                return Err(format!("{}: no public key that signs; {cure}", path.display()));
            }
            (Source::File(path), false)
        }
        None => (Source::Provider(Provider::new(issuer, options.allow_http)?), true),
    };
    let scopes = options.client_scopes.unwrap_or("openid").split_whitespace().map(str::to_owned).collect();
    let query = form_urlencoded::parse(options.client_query.unwrap_or_default().as_bytes()).into_owned().collect();
    let client = options.client_id.map(|id| Client { id: id.to_owned(), scopes, query });
    if client.is_none() && (options.client_scopes.is_some() || options.client_query.is_some()) {
        return Err("client-scopes and client-query want a client-id".into());
    }
    if client.is_some() && !has_metadata {
        return Err("signing in wants what the issuer says of itself; leave jwks-file or client-id out".into());
    }
    Ok(TrustedIssuer {
        issuer: issuer.to_owned(),
        audience: options.audience.ok_or("add audience=NAME: what the tokens' aud has to name")?.to_owned(),
        algorithms: algorithms(options.algorithms.unwrap_or(ALGORITHMS))?,
        token_type: match options.typ {
            None | Some("strict") => TokenType::Strict,
            Some("compatible") => TokenType::Lenient,
            Some(_) => return Err("typ is strict or compatible".into()),
        },
        scopes: options.scopes.map(str::to_owned),
        organization: options.organization.map(str::to_owned),
        leeway: LEEWAY,
        keys: JwksCache::new(issuer, keys),
        client,
    })
}

#[derive(Default)]
struct Options<'t> {
    audience: Option<&'t str>,
    algorithms: Option<&'t str>,
    scopes: Option<&'t str>,
    organization: Option<&'t str>,
    typ: Option<&'t str>,
    jwks_file: Option<&'t str>,
    allow_http: bool,
    client_id: Option<&'t str>,
    client_scopes: Option<&'t str>,
    client_query: Option<&'t str>,
}

impl<'t> Options<'t> {
    fn set(&mut self, option: &'t str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let place = match name.trim() {
            "allow-http" if value.is_empty() => {
                self.allow_http = true;
                return Ok(());
            }
            "audience" => &mut self.audience,
            "algorithms" => &mut self.algorithms,
            "scopes" => &mut self.scopes,
            "organization" => &mut self.organization,
            "typ" => &mut self.typ,
            "jwks-file" => &mut self.jwks_file,
            "client-id" => &mut self.client_id,
            "client-scopes" => &mut self.client_scopes,
            "client-query" => &mut self.client_query,
            _ => return Err(format!("no option is written `{option}`; see --help")),
        };
        if value.is_empty() || place.replace(value).is_some() {
            return Err(format!("give {} once, with a value", name.trim()));
        }
        Ok(())
    }
}

fn algorithms(names: &str) -> Result<Vec<jsonwebtoken::Algorithm>, String> {
    let known: Option<Vec<_>> = names.split_whitespace().map(issuer::algorithm).collect();
    known.filter(|known| !known.is_empty()).ok_or_else(|| {
        "algorithms are those by which only the issuer can sign: RS256, RS384, RS512, PS256, PS384, PS512, ES256, \
         ES384, EdDSA"
            .to_owned()
    })
}
