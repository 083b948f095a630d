//! JwksSource: where an issuer's public keys come from.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::text_encoding::check_text_encoding;
use crate::service::issuer::algorithm::Algorithm;
use crate::service::issuer::discovery::{FetchedJwks, Provider, ProviderMetadata};
use crate::service::issuer::jwk::Key;
use crate::service::issuer::jwks::KeySet;

/// Time for which keys are fresh if the provider does not say (`Cache-Control`).
const DEFAULT_TTL: Duration = Duration::from_secs(300);
/// The bounds within which it may say.
pub const MIN_TTL: Duration = Duration::from_secs(60);
pub const MAX_TTL: Duration = Duration::from_secs(3600);

/// Where keys come from.
pub enum JwksSource {
    /// One key that does not change while the process runs.
    Fixed(Arc<Key>),
    /// A file with a JWKS (RFC 7517).
    File(PathBuf),
    /// The issuer's `jwks_uri`, or a configured one.
    Provider(Provider),
}

/// The keys as fetched.
pub struct Fetched {
    pub set: KeySet,
    pub metadata: Option<Arc<ProviderMetadata>>,
    pub ttl: Duration,
}

impl JwksSource {
    /// Fetches the keys that may sign by these algorithms. With `metadata` the provider's own is not fetched.
    pub async fn fetch(
        &self,
        metadata: Option<Arc<ProviderMetadata>>,
        algorithms: &[Algorithm],
    ) -> Result<Fetched, String> {
        let parse = |text: &[u8], from: &dyn fmt::Display| {
            KeySet::parse(text, algorithms).map_err(|reason| format!("{from}: {reason}"))
        };
        match self {
            Self::Fixed(key) => {
                let set = KeySet { keys: vec![key.clone()], ..KeySet::default() };
                Ok(Fetched { set, metadata: None, ttl: MAX_TTL })
            }
            Self::File(path) => {
                let text = tokio::fs::read(path).await.map_err(|error| format!("{}: {error}", path.display()))?;
                check_text_encoding(&text).map_err(|rule| format!("{} {rule}", path.display()))?;
                Ok(Fetched { set: parse(&text, &path.display())?, metadata: None, ttl: MIN_TTL })
            }
            Self::Provider(provider) => {
                let FetchedJwks { metadata, url, text, max_age } = provider.fetch(metadata).await?;
                Ok(Fetched { set: parse(&text, &url)?, metadata, ttl: max_age.unwrap_or(DEFAULT_TTL) })
            }
        }
    }
}
