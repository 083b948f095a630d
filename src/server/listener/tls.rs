//! TLS: the certificate that the server shows, read again when its files change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, ServerConfig};
use tracing::{info, warn};

use crate::config::{ConfigError, unusable};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

const CERT: &str = "--tls-cert (MINTKEY_TLS_CERT)";
const KEY: &str = "--tls-key (MINTKEY_TLS_KEY)";

/// The files of a certificate with its chain and of its private key, both in PEM.
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What was read from the files.
struct Pems {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl TlsFiles {
    /// What connections are accepted with; it follows the files for as long as somebody holds it.
    pub async fn follow(self) -> Result<watch::Receiver<TlsAcceptor>, ConfigError> {
        let pems = self.read().await?;
        let (current, acceptor) = watch::channel(self.acceptor(&pems)?);
        tokio::spawn(self.renew(pems.hash(), current));
        Ok(acceptor)
    }

    /// Two files cannot be replaced at once: between the two they do not fit, and what was good before is kept.
    async fn renew(self, mut used: blake3::Hash, current: watch::Sender<TlsAcceptor>) {
        let mut complaint = None;
        while !current.is_closed() {
            tokio::time::sleep(LOOK).await;
            let newer = match self.read().await {
                Ok(pems) if pems.hash() == used => Ok(None),
                Ok(pems) => self.acceptor(&pems).map(|acceptor| Some((pems.hash(), acceptor))),
                Err(error) => Err(error),
            };
            let error = match newer {
                Ok(newer) => {
                    if let Some((hash, acceptor)) = newer {
                        used = hash;
                        current.send_replace(acceptor);
                        info!("the TLS certificate was replaced");
                    }
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = error.as_ref().filter(|_| error != complaint) {
                warn!(error, "the TLS certificate cannot be replaced; the one from before is used");
            }
            complaint = error;
        }
    }

    /// The certificate and those that vouch for it, of files that could be served with.
    pub async fn check(&self) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let pems = self.read().await?;
        self.acceptor(&pems)?;
        self.chain(&pems)
    }

    async fn read(&self) -> Result<Pems, ConfigError> {
        let cure = "give a file that exists and can be read";
        let cert = tokio::fs::read(&self.cert).await.map_err(|error| unusable(CERT, &self.cert, &error, cure))?;
        let key = tokio::fs::read(&self.key).await.map_err(|error| unusable(KEY, &self.key, &error, cure))?;
        Ok(Pems { cert, key })
    }

    fn chain(&self, pems: &Pems) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let cure = "give a certificate in PEM, followed by those that vouch for it";
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pems.cert).collect();
        let chain = chain.map_err(|error| unusable(CERT, &self.cert, &error, cure))?;
        if chain.is_empty() {
            return Err(unusable(CERT, &self.cert, &"there is no certificate in it", cure));
        }
        Ok(chain)
    }

    fn acceptor(&self, pems: &Pems) -> Result<TlsAcceptor, ConfigError> {
        let chain = self.chain(pems)?;
        let key = PrivateKeyDer::from_pem_slice(&pems.key)
            .map_err(|error| unusable(KEY, &self.key, &error, "give an unencrypted private key in PEM"))?;

        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                let problem = format!("it is not the key of the certificate in {}", self.cert.display());
                unusable(KEY, &self.key, &problem, "give the two that belong together")
            }
            error => unusable(CERT, &self.cert, &error, "give a certificate and a key that TLS servers can use"),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Pems {
    /// By which a change is seen without keeping the private key.
    fn hash(&self) -> blake3::Hash {
        let [cert, key] = [&self.cert, &self.key].map(|pem| blake3::hash(pem));
        blake3::hash(&[*cert.as_bytes(), *key.as_bytes()].concat())
    }
}
