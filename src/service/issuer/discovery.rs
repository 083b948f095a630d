//! Discovery: what an issuer publishes of itself (OpenID Connect Discovery, RFC 8414), and its keys, over HTTPS.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CACHE_CONTROL;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

/// For the metadata and the keys together.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 1 << 20;

pub struct Provider {
    issuer: String,
    url: Url,
    /// Whether an address without TLS is taken, besides those of this machine when the issuer is there itself.
    allow_http: bool,
    client: Client,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    issuer: String,
    pub jwks_uri: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
}

/// Where a browser signs its user in.
pub struct Endpoints {
    pub authorization: String,
    pub token: String,
    /// Of the token endpoint: what a page has to be allowed to connect to.
    pub origin: String,
}

impl Metadata {
    pub fn endpoints(&self) -> Option<Endpoints> {
        let token = Url::parse(self.token_endpoint.as_deref()?).ok()?;
        let authorization = Url::parse(self.authorization_endpoint.as_deref()?).ok()?;
        // Not `javascript:`, nor anything else that a browser would run.
        let is_web = |url: &Url| matches!(url.scheme(), "https" | "http");
        (is_web(&token) && is_web(&authorization)).then(|| Endpoints {
            authorization: authorization.into(),
            origin: token.origin().ascii_serialization(),
            token: token.into(),
        })
    }
}

impl Provider {
    /// The error says what an issuer has to look like.
    pub fn new(issuer: &str, allow_http: bool) -> Result<Self, &'static str> {
        let url = Url::parse(issuer).map_err(|_| "give the issuer as a URL, such as https://id.example.com")?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err("the URL of an issuer has no user, query or fragment");
        }
        if !(url.scheme() == "https" || url.scheme() == "http" && (allow_http || is_loopback(&url))) {
            return Err(
                "give the issuer's https:// URL; a plain http:// one is taken on this machine's loopback, and \
                elsewhere with allow-http, which lets whoever is on the way choose who may sign in",
            );
        }
        // A redirect is not followed: whom to believe was said by whoever set the issuer, and by nobody on the way.
        let client = Client::builder().redirect(Policy::none()).user_agent("mintkey").build();
        let client = client.map_err(|_| "no HTTP client could be made; are there CA certificates on this machine?")?;
        Ok(Self { issuer: issuer.to_owned(), url, allow_http, client })
    }

    /// The keys as they are served, with what is known of the provider and how long they are fresh by its own words.
    pub async fn fetch(
        &self,
        known: Option<Arc<Metadata>>,
    ) -> Result<(Arc<Metadata>, Vec<u8>, Option<Duration>), String> {
        let fetch = async {
            let metadata = match known {
                Some(metadata) => metadata,
                None => Arc::new(self.metadata().await?),
            };
            let url = self.permitted(&metadata.jwks_uri)?;
            let (jwks, fresh) = self.get(&url).await?.map_err(|status| format!("{url} answered {status}"))?;
            Ok((metadata, jwks, fresh))
        };
        tokio::time::timeout(TIMEOUT, fetch).await.unwrap_or_else(|_| Err(format!("{} took over 5 s", self.issuer)))
    }

    async fn metadata(&self) -> Result<Metadata, String> {
        let mut refused = Vec::new();
        for url in self.well_known() {
            match self.get(&url).await? {
                Ok((document, _)) => {
                    let metadata: Metadata = serde_json::from_slice(&document)
                        .map_err(|_| format!("{url} is no metadata of an issuer (RFC 8414)"))?;
                    // Section 3.3: or else one issuer could speak for another.
                    if metadata.issuer != self.issuer {
                        return Err(format!("{url} names another issuer; give exactly the one that it names"));
                    }
                    return Ok(metadata);
                }
                Err(status) => refused.push(format!("{url} answered {status}")),
            }
        }
        Err(refused.join(", "))
    }

    /// Where OpenID Connect Discovery, section 4, and RFC 8414, section 3.1, put the metadata.
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

    fn permitted(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|_| "the metadata's jwks_uri is no URL".to_owned())?;
        let here = is_loopback(&self.url) && is_loopback(&url);
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.allow_http || here => Ok(url),
            _ => Err(format!("the metadata's jwks_uri, {url}, is not https")),
        }
    }

    /// The body, read no further than the limit, and its `max-age`; or the status of another answer.
    async fn get(&self, url: &Url) -> Result<Result<(Vec<u8>, Option<Duration>), StatusCode>, String> {
        let failed = |error: reqwest::Error| format!("{url}: {}", root(&error));
        let mut response = self.client.get(url.clone()).send().await.map_err(failed)?;
        if response.status() != StatusCode::OK {
            return Ok(Err(response.status()));
        }
        let fresh = response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(format!("{url} answered with more than 1 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Ok((body, fresh)))
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

/// RFC 9111, section 5.2.2: what may not be kept is kept for the least time that we keep anything.
fn max_age(cache_control: &str) -> Option<Duration> {
    let directives = || cache_control.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    if directives().any(|directive| directive == "no-store" || directive == "no-cache") {
        return Some(Duration::ZERO);
    }
    directives().find_map(|d| d.strip_prefix("max-age=")?.trim_matches('"').parse().ok()).map(Duration::from_secs)
}

/// The error below all others, which says what happened; those above repeat the URL.
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
    fn metadata_is_looked_for_in_both_places_whatever_the_path() {
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
    fn an_address_without_tls_is_taken_at_home_or_when_allowed() {
        for good in ["https://id.example.com", "http://127.0.0.1:3000", "http://[::1]:3000/a", "http://localhost"] {
            assert!(Provider::new(good, false).is_ok(), "{good}");
        }
        for bad in ["http://id.example.com", "http://127.0.0.1.example.com", "http://localhost.example.com", "urn:a"] {
            assert!(Provider::new(bad, false).is_err(), "{bad}");
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
    fn keys_are_fresh_for_as_long_as_their_provider_says() {
        assert_eq!(max_age("public, max-age=600"), Some(Duration::from_secs(600)));
        assert_eq!(max_age("Max-Age=\"60\""), Some(Duration::from_secs(60)));
        assert_eq!(max_age("max-age=600, no-cache"), Some(Duration::ZERO));
        assert_eq!(max_age("max-age=-1"), None);
        assert_eq!(max_age("s-maxage=5"), None);
    }
}
