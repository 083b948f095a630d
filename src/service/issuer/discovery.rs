//! Discovery: fetches an issuer's metadata (OpenID Connect Discovery, RFC 8414) and keys over HTTPS.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CACHE_CONTROL;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

/// Time allowed for fetching the metadata and the keys together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// In bytes.
const MAX_RESPONSE: usize = 1 << 20;

/// An issuer that is reached over HTTP.
pub struct Provider {
    issuer: String,
    url: Url,
    /// True to accept `http://` URLs of other machines. An issuer on a loopback address may have loopback URLs anyway.
    allow_http: bool,
    client: Client,
}

/// The used part of an issuer's metadata (RFC 8414, section 2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProviderMetadata {
    issuer: String,
    pub jwks_uri: String,
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
    /// Checks the issuer's URL. The error is the rule that it breaks.
    pub fn new(issuer: &str, allow_http: bool) -> Result<Self, &'static str> {
        let url = Url::parse(issuer).map_err(|_| "give the issuer as a URL, such as https://id.example.com")?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err("the URL of an issuer must not have a user, query or fragment");
        }
        if !(url.scheme() == "https" || url.scheme() == "http" && (allow_http || is_loopback(&url))) {
            return Err(
                "give the issuer's https:// URL; an http:// URL is accepted for a loopback address, and for others with \
                allow-http, which lets an attacker on the network forge tokens",
            );
        }
        // Follows no redirects: the operator chose whom to trust, and a response must not change that.
        let client = Client::builder().redirect(Policy::none()).user_agent("mintkey").build();
        let client = client.map_err(|_| "no HTTP client could be created; are CA certificates installed?")?;
        Ok(Self { issuer: issuer.to_owned(), url, allow_http, client })
    }

    /// Returns the metadata, the JWKS and its `max-age`. With `metadata` only the JWKS is fetched.
    pub async fn fetch(
        &self,
        metadata: Option<Arc<ProviderMetadata>>,
    ) -> Result<(Arc<ProviderMetadata>, Vec<u8>, Option<Duration>), String> {
        let fetch = async {
            let metadata = match metadata {
                Some(metadata) => metadata,
                None => Arc::new(self.metadata().await?),
            };
            let url = self.permitted(&metadata.jwks_uri)?;
            let (jwks, max_age) = self.get(&url).await?.map_err(|status| format!("{url} responded with {status}"))?;
            Ok((metadata, jwks, max_age))
        };
        tokio::time::timeout(FETCH_TIMEOUT, fetch)
            .await
            .unwrap_or_else(|_| Err(format!("{} took more than 5 seconds", self.issuer)))
    }

    async fn metadata(&self) -> Result<ProviderMetadata, String> {
        let mut failures = Vec::new();
        for url in self.well_known() {
            match self.get(&url).await? {
                Ok((document, _)) => {
                    let metadata: ProviderMetadata = serde_json::from_slice(&document)
                        .map_err(|_| format!("{url} is not issuer metadata (RFC 8414)"))?;
                    // RFC 8414, section 3.3: otherwise one issuer could impersonate another.
                    if metadata.issuer != self.issuer {
                        return Err(format!("{url} has another `issuer`; configure exactly that one"));
                    }
                    return Ok(metadata);
                }
                Err(status) => failures.push(format!("{url} responded with {status}")),
            }
        }
        Err(failures.join(", "))
    }

    /// The URLs of the metadata by OpenID Connect Discovery, section 4, and RFC 8414, section 3.1.
    fn well_known(&self) -> [Url; 2] {
        let path = self.url.path().trim_end_matches('/');
        let at = |path: String| {
            let mut url = self.url.clone();
            url.set_path(&path);
            url
        };
        [
            at(format!("{path}/.well-known/openid-configuration")),
            at(format!("/.well-known/oauth-authorization-server{path}")),
        ]
    }

    /// Parses a `jwks_uri` that may be fetched.
    fn permitted(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|_| "the metadata's jwks_uri is not a URL".to_owned())?;
        let is_local = is_loopback(&self.url) && is_loopback(&url);
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.allow_http || is_local => Ok(url),
            _ => Err(format!("the metadata's jwks_uri, {url}, is not https")),
        }
    }

    /// Returns the body of a 200 response, read up to the limit, and its `max-age`; or the status of another response.
    async fn get(&self, url: &Url) -> Result<Result<(Vec<u8>, Option<Duration>), StatusCode>, String> {
        let failed = |error: reqwest::Error| format!("{url}: {}", root(&error));
        let mut response = self.client.get(url.clone()).send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Ok(Err(response.status()));
        }
        let max_age = response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_RESPONSE {
                return Err(format!("{url} responded with more than 1 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Ok((body, max_age)))
    }
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
    use super::*;

    #[test]
    fn well_known_follows_both_specifications() {
        for (issuer, oidc, oauth) in [
            ("https://id.example.com", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
            ("https://id.example.com/", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
            (
                "https://id.example.com/realms/a/",
                "/realms/a/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server/realms/a",
            ),
        ] {
            let found = Provider::new(issuer, false).unwrap_or_else(|error| panic!("{error}")).well_known();
            assert_eq!(found.map(|url| url.path().to_owned()), [oidc, oauth], "{issuer}");
        }
    }

    #[test]
    fn http_urls_are_accepted_on_loopback_or_when_allowed() {
        for accepted in ["https://id.example.com", "http://127.0.0.1:3000", "http://[::1]:3000/a", "http://localhost"] {
            assert!(Provider::new(accepted, false).is_ok(), "{accepted}");
        }
        for refused in
            ["http://id.example.com", "http://127.0.0.1.example.com", "http://localhost.example.com", "urn:a"]
        {
            assert!(Provider::new(refused, false).is_err(), "{refused}");
        }
        assert!(Provider::new("http://id.example.com", true).is_ok());

        let of = |issuer, allow| Provider::new(issuer, allow).unwrap_or_else(|error| panic!("{error}"));
        assert!(of("https://id.example.com", false).permitted("http://127.0.0.1/jwks").is_err());
        assert!(of("https://id.example.com", false).permitted("file:///etc/passwd").is_err());
        assert!(of("http://127.0.0.1", false).permitted("http://id.example.com/jwks").is_err());
        assert!(of("http://127.0.0.1", false).permitted("http://[::1]/jwks").is_ok());
        assert!(of("http://id.example.com", true).permitted("http://keys.example.com/jwks").is_ok());
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
