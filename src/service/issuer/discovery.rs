//! Discovery: fetches an issuer's metadata (OpenID Connect Discovery, RFC 8414) and keys over HTTPS. With a configured
//! `jwks_uri` only the keys are fetched.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use crate::domain::excerpt::Excerpt;
use crate::service::issuer::jwks::without_byte_order_mark;

/// Time allowed for fetching the metadata and the keys together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// In bytes.
const MAX_RESPONSE: usize = 1 << 20;

/// An issuer that is reached over HTTP.
pub struct Provider {
    address: Address,
    /// True to accept `http://` URLs of other machines. An issuer on a loopback address may have loopback URLs anyway.
    allow_http: bool,
    client: Client,
}

/// Where an issuer's keys are found.
enum Address {
    /// The metadata, which names the URL of the keys, is at URLs that follow from the issuer's own.
    Issuer(String, Url),
    /// The keys are at this URL.
    Jwks(Url),
}

/// A JWKS as it was fetched.
pub struct FetchedJwks {
    /// `None` if the URL of the keys is configured.
    pub metadata: Option<Arc<ProviderMetadata>>,
    /// Where the keys came from, without its query.
    pub url: String,
    pub text: Vec<u8>,
    pub max_age: Option<Duration>,
}

/// The used part of an issuer's metadata (RFC 8414, section 2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProviderMetadata {
    issuer: String,
    jwks_uri: Option<String>,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
}

/// Where a browser signs its user in, by authorization code.
pub struct Endpoints {
    pub authorization: String,
    pub token: String,
    /// The origin of the token endpoint, for a Content-Security-Policy.
    pub origin: String,
}

impl ProviderMetadata {
    /// The endpoints, if the metadata has both as web URLs.
    pub fn endpoints(&self) -> Option<Endpoints> {
        let token = Url::parse(self.token_endpoint.as_deref()?).ok()?;
        let authorization = Url::parse(self.authorization_endpoint.as_deref()?).ok()?;
        // Excludes `javascript:` and other schemes that a browser would execute.
        let is_web = |url: &Url| matches!(url.scheme(), "https" | "http");
        (is_web(&token) && is_web(&authorization)).then(|| Endpoints {
            authorization: authorization.into(),
            origin: token.origin().ascii_serialization(),
            token: token.into(),
        })
    }
}

impl Provider {
    /// The provider with this issuer. The error is the rule that its URL breaks.
    pub fn new(issuer: &str, allow_http: bool) -> Result<Self, &'static str> {
        let url = Url::parse(issuer).map_err(|_| "give the issuer as a URL, such as https://id.example.com")?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err("the URL of an issuer must not have a user, query or fragment");
        }
        if !is_permitted(&url, allow_http) {
            return Err(
                "give the issuer's https:// URL; an http:// URL is accepted for a loopback address, and for others with \
                allow-http, which lets an attacker on the network forge tokens",
            );
        }
        Self::at(Address::Issuer(issuer.to_owned(), url), allow_http)
    }

    /// The provider with its keys at this URL. The error is the rule that it breaks.
    pub fn with_jwks_uri(url: &str, allow_http: bool) -> Result<Self, &'static str> {
        let url = Url::parse(url).map_err(|_| "give jwks-uri as a URL, such as https://id.example.com/jwks")?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("jwks-uri must not have a user or fragment");
        }
        if !is_permitted(&url, allow_http) {
            return Err(
                "give jwks-uri as an https:// URL; an http:// URL is accepted for a loopback address, and for others \
                with allow-http, which lets an attacker on the network forge tokens",
            );
        }
        Self::at(Address::Jwks(url), allow_http)
    }

    fn at(address: Address, allow_http: bool) -> Result<Self, &'static str> {
        // RFC 9110, section 12.5.3: without the header, the response could have any coding.
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        // Follows no redirects: the operator chose whom to trust, and a response must not change that.
        let client = Client::builder().redirect(Policy::none()).user_agent("mintkey").default_headers(headers).build();
        let client = client.map_err(|_| "no HTTP client could be created; are CA certificates installed?")?;
        Ok(Self { address, allow_http, client })
    }

    /// Fetches the JWKS; before it the metadata, unless it is given.
    pub async fn fetch(&self, metadata: Option<Arc<ProviderMetadata>>) -> Result<FetchedJwks, String> {
        let fetch = async {
            let (metadata, url) = match (&self.address, metadata) {
                (Address::Jwks(url), _) => (None, url.clone()),
                (Address::Issuer(_, own), Some(metadata)) => {
                    let url = self.jwks_uri(own, &metadata)?;
                    (Some(metadata), url)
                }
                (Address::Issuer(issuer, own), None) => {
                    let metadata = self.metadata(issuer, own).await?;
                    let url = self.jwks_uri(own, &metadata)?;
                    (Some(Arc::new(metadata)), url)
                }
            };
            let (text, max_age) =
                self.get(&url).await?.map_err(|other| format!("{} responded with {other}", without_query(&url)))?;
            Ok(FetchedJwks { metadata, url: without_query(&url), text, max_age })
        };
        let name = match &self.address {
            Address::Issuer(issuer, _) => issuer.clone(),
            Address::Jwks(url) => without_query(url),
        };
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetch).await;
        fetched.unwrap_or_else(|_| Err(format!("{name} took more than 5 seconds")))
    }

    /// Returns the first document that is the issuer's metadata. An application may respond with a page at the other URL.
    async fn metadata(&self, issuer: &str, own: &Url) -> Result<ProviderMetadata, String> {
        let mut failures = Vec::new();
        let mut is_published = false;
        for url in well_known(own) {
            let outcome = match self.get(&url).await? {
                Ok((document, _)) => {
                    is_published = true;
                    parse_issuer_metadata(&document, issuer).map_err(|why| format!("{url} {why}"))
                }
                Err(other) => Err(format!("{url} responded with {other}")),
            };
            match outcome {
                Ok(metadata) => return Ok(metadata),
                Err(failure) => failures.push(failure),
            }
        }
        if !is_published {
            failures.push("if the provider publishes no metadata, set the option jwks-uri".to_owned());
        }
        Err(failures.join("; "))
    }

    /// The URL of the keys, if it may be fetched.
    fn jwks_uri(&self, own: &Url, metadata: &ProviderMetadata) -> Result<Url, String> {
        let text = metadata.jwks_uri.as_deref().ok_or(
            "the metadata has no jwks_uri, so that the access tokens are no signed JWTs, or the keys are elsewhere; in \
             that case set the option jwks-uri or jwks-file",
        )?;
        let url = Url::parse(text);
        let url = url.map_err(|_| format!("the metadata's jwks_uri is no URL: {}", Excerpt::of_text(Some(text))))?;
        let is_local = is_loopback(own) && is_loopback(&url);
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.allow_http || is_local => Ok(url),
            "http" => Err(format!(
                "the metadata's jwks_uri, {}, is http; use https there, or add allow-http",
                without_query(&url)
            )),
            _ => Err(format!("the metadata's jwks_uri, {}, is not https; use https there", without_query(&url))),
        }
    }

    /// Returns the body of a 200 response, read up to the limit, and its `max-age`; or what another response was.
    async fn get(&self, url: &Url) -> Result<Result<(Vec<u8>, Option<Duration>), String>, String> {
        let failed = |error: reqwest::Error| format!("{}: {}", without_query(url), root(&error));
        let mut response = self.client.get(url.clone()).send().await.map_err(failed)?;
        if let Some(fault) = fault(&response) {
            return Ok(Err(fault));
        }
        let max_age = response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_RESPONSE {
                return Err(format!("{} responded with more than 1 MiB", without_query(url)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Ok((body, max_age)))
    }
}

/// Why the body of a response is not what was requested.
fn fault(response: &Response) -> Option<String> {
    let header =
        |name| response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match (response.status(), header(LOCATION), header(CONTENT_ENCODING)) {
        (StatusCode::OK, _, None) => None,
        (StatusCode::OK, _, Some(coding)) if coding.eq_ignore_ascii_case("identity") => None,
        (StatusCode::OK, _, Some(coding)) => {
            Some(format!("the content coding {}, which was not requested", Excerpt::of_text(Some(&coding))))
        }
        (status, Some(location), _) if status.is_redirection() => {
            let location = Excerpt::of_text(Some(&location));
            Some(format!("{status} to {location}, which is not followed; configure the URL that it leads to"))
        }
        (status, _, _) => Some(status.to_string()),
    }
}

/// The URLs of the metadata by OpenID Connect Discovery, section 4, and RFC 8414, section 3.1.
fn well_known(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    [
        at(format!("{path}/.well-known/openid-configuration")),
        at(format!("/.well-known/oauth-authorization-server{path}")),
    ]
}

/// The error says what is wrong with the document.
fn parse_issuer_metadata(document: &[u8], issuer: &str) -> Result<ProviderMetadata, String> {
    let metadata: ProviderMetadata = serde_json::from_slice(without_byte_order_mark(document))
        .map_err(|_| "is not issuer metadata (RFC 8414)".to_owned())?;
    // RFC 8414, section 3.3: otherwise one issuer could impersonate another.
    if metadata.issuer != issuer {
        return Err(format!(
            "has another `issuer`, {}; configure exactly that one, if it is the tokens' `iss`; if theirs is {issuer}, set \
             the option jwks-uri",
            Excerpt::of_text(Some(&metadata.issuer))
        ));
    }
    Ok(metadata)
}

/// The URL without its query, which can hold a credential of the provider.
fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

/// True if a configured URL may be fetched.
fn is_permitted(url: &Url, allow_http: bool) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && (allow_http || is_loopback(url))
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        None => false,
    }
}

/// Returns the `max-age` (RFC 9111, section 5.2.2); zero for a response that must not be cached. Callers apply their own
/// minimum.
fn max_age(cache_control: &str) -> Option<Duration> {
    let directives = || cache_control.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    if directives().any(|directive| directive == "no-store" || directive == "no-cache") {
        return Some(Duration::ZERO);
    }
    directives().find_map(|d| d.strip_prefix("max-age=")?.trim_matches('"').parse().ok()).map(Duration::from_secs)
}

/// Returns the innermost source, which says what happened; the outer ones repeat the URL.
fn root(error: &dyn Error) -> &dyn Error {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider(issuer: &str, allow_http: bool) -> Provider {
        Provider::new(issuer, allow_http).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn well_known_follows_both_specifications() {
        for (issuer, oidc, oauth) in [
            ("https://id.example.com", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
            ("https://[::1]:3000/", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
            (
                "https://id.example.com/realms/a/",
                "/realms/a/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server/realms/a",
            ),
        ] {
            let found = well_known(&Url::parse(issuer).unwrap());
            assert_eq!(found.map(|url| url.path().to_owned()), [oidc, oauth], "{issuer}");
        }
    }

    #[test]
    fn http_urls_are_accepted_on_loopback_or_when_allowed() {
        for accepted in ["https://id.example.com", "http://127.0.0.1:3000", "http://[::1]:3000/a", "http://localhost"] {
            assert!(Provider::new(accepted, false).is_ok(), "{accepted}");
            assert!(Provider::with_jwks_uri(accepted, false).is_ok(), "{accepted}");
        }
        for refused in [
            "http://id.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "urn:a",
            "file:///a",
        ] {
            assert!(Provider::new(refused, false).is_err(), "{refused}");
            assert!(Provider::with_jwks_uri(refused, false).is_err(), "{refused}");
        }
        assert!(Provider::new("http://id.example.com", true).is_ok());
        assert!(Provider::with_jwks_uri("http://keycloak:8080/certs?a=b", true).is_ok());

        let jwks_uri = |issuer: &str, allow_http, jwks_uri: &str| {
            let metadata = json!({ "issuer": issuer, "jwks_uri": jwks_uri });
            let own = Url::parse(issuer).unwrap();
            provider(issuer, allow_http).jwks_uri(&own, &serde_json::from_value(metadata).unwrap())
        };
        assert!(jwks_uri("https://id.example.com", false, "http://127.0.0.1/jwks").unwrap_err().contains("allow-http"));
        assert!(jwks_uri("https://id.example.com", false, "file:///etc/passwd").is_err());
        assert!(jwks_uri("https://id.example.com", false, "/jwks").unwrap_err().contains(r#"no URL: "/jwks""#));
        assert!(jwks_uri("http://127.0.0.1", false, "http://id.example.com/jwks").is_err());
        assert!(jwks_uri("http://127.0.0.1", false, "http://[::1]/jwks").is_ok());
        assert!(jwks_uri("http://id.example.com", true, "http://keys.example.com/jwks").is_ok());
    }

    #[tokio::test]
    async fn fetch_failure_shows_the_url_without_its_query() {
        let provider = Provider::with_jwks_uri("http://127.0.0.1:1/keys?apikey=canary", false);
        let failure = provider.unwrap_or_else(|error| panic!("{error}")).fetch(None).await.err().unwrap();
        assert!(failure.contains("http://127.0.0.1:1/keys:") && !failure.contains("canary"), "{failure}");
    }

    #[test]
    fn parse_metadata_names_the_other_issuer_and_the_cure() {
        let parse = |document: &str| parse_issuer_metadata(document.as_bytes(), "https://id.example.com");
        let shown = parse(r#"{"issuer":"https://id.example.com/","jwks_uri":"https://a/"}"#).unwrap_err();
        for part in ["https://id.example.com/\"", "configure exactly", "theirs is https://id.example.com,", "jwks-uri"]
        {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        assert!(parse("<html>").unwrap_err().contains("is not issuer metadata"));
        assert!(parse("\u{feff}{\"issuer\":\"https://id.example.com\"}").is_ok());
    }

    #[test]
    fn max_age_reads_cache_control() {
        assert_eq!(max_age("public, max-age=600"), Some(Duration::from_secs(600)));
        assert_eq!(max_age("Max-Age=\"60\""), Some(Duration::from_secs(60)));
        assert_eq!(max_age("max-age=600, no-cache"), Some(Duration::ZERO));
        assert_eq!(max_age("max-age=-1"), None);
        assert_eq!(max_age("s-maxage=5"), None);
    }
}
