//! TLS: the server certificate, reloaded when its files change and on SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, ServerConfig};
use tracing::{info, warn};

use crate::config::{ConfigError, setting_name, unusable, wrong_encoding};
use crate::domain::text_encoding::check_text_encoding;

/// Time between two checks of the files.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

const CERT: &str = "tls-cert";
const KEY: &str = "tls-key";

/// The files with the certificate chain and with its private key, both PEM.
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// The contents of the files.
struct Pems {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl TlsFiles {
    /// Returns the acceptor for new connections. A task keeps it current until all receivers are dropped.
    pub async fn watch(self, hangup: Signal) -> Result<watch::Receiver<TlsAcceptor>, ConfigError> {
        let pems = self.read().await?;
        let (current, acceptor) = watch::channel(self.acceptor(&pems)?);
        tokio::spawn(self.reload(pems.hash(), current, hangup));
        Ok(acceptor)
    }

    /// Reloads changed files, and any on SIGHUP. Two files cannot be replaced at once; while they do not match, the previous
    /// acceptor stays.
    async fn reload(self, mut used: blake3::Hash, current: watch::Sender<TlsAcceptor>, mut hangup: Signal) {
        let mut logged = None;
        while !current.is_closed() {
            let requested = tokio::select! {
                () = tokio::time::sleep(RELOAD_INTERVAL) => false,
                _ = hangup.recv() => true,
            };
            if requested {
                info!("received SIGHUP; reloading the TLS certificate");
                // The result is logged even if it is the last one.
                logged = None;
            }
            let newer = match self.read().await {
                Ok(pems) if pems.hash() == used && !requested => Ok(None),
                Ok(pems) => self.acceptor(&pems).map(|acceptor| Some((pems.hash(), acceptor))),
                Err(error) => Err(error),
            };
            let error = match newer {
                Ok(newer) => {
                    if let Some((hash, acceptor)) = newer {
                        used = hash;
                        current.send_replace(acceptor);
                        info!("TLS certificate reloaded");
                    }
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            if let Some(error) = error.as_ref().filter(|_| error != logged) {
                warn!(error, "TLS certificate reload failed; keeping the current one");
            }
            logged = error;
        }
    }

    /// Returns the certificate chain, after checking that the server could use the files.
    pub async fn check(&self) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let pems = self.read().await?;
        self.acceptor(&pems)?;
        self.chain(&pems)
    }

    async fn read(&self) -> Result<Pems, ConfigError> {
        let remedy = "give a file that exists and can be read";
        let cert = tokio::fs::read(&self.cert)
            .await
            .map_err(|error| unusable(&setting_name(CERT), &self.cert, &error, remedy))?;
        let key = tokio::fs::read(&self.key)
            .await
            .map_err(|error| unusable(&setting_name(KEY), &self.key, &error, remedy))?;
        for (setting, path, pem) in [(CERT, &self.cert, &cert), (KEY, &self.key, &key)] {
            check_text_encoding(pem).map_err(|rule| wrong_encoding(&setting_name(setting), path, &rule))?;
        }
        Ok(Pems { cert, key })
    }

    fn chain(&self, pems: &Pems) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let remedy = "give a certificate in PEM, followed by its intermediate certificates";
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pems.cert).collect();
        let chain = chain.map_err(|error| unusable(&setting_name(CERT), &self.cert, &error, remedy))?;
        if chain.is_empty() {
            return Err(unusable(&setting_name(CERT), &self.cert, &"it contains no certificate", remedy));
        }
        Ok(chain)
    }

    fn acceptor(&self, pems: &Pems) -> Result<TlsAcceptor, ConfigError> {
        let chain = self.chain(pems)?;
        let key = PrivateKeyDer::from_pem_slice(&pems.key).map_err(|error| {
            unusable(&setting_name(KEY), &self.key, &error, "give an unencrypted private key in PEM")
        })?;

        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|error| match error {
            Error::InconsistentKeys(_) => {
                let problem = format!("it is not the key of the certificate in {}", self.cert.display());
                unusable(&setting_name(KEY), &self.key, &problem, "give two that belong together")
            }
            error => unusable(
                &setting_name(CERT),
                &self.cert,
                &error,
                "give a certificate and a key that TLS servers can use",
            ),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Pems {
    /// Detects changes without keeping the private key in memory.
    fn hash(&self) -> blake3::Hash {
        let [cert, key] = [&self.cert, &self.key].map(|pem| blake3::hash(pem));
        blake3::hash(&[*cert.as_bytes(), *key.as_bytes()].concat())
    }
}
