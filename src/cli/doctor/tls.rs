//! TLS: whether the certificate can be served with, and until when.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};

use crate::cli::doctor::Opinion;
use crate::config::ServeSettings;
use crate::server::TlsFiles;

/// Whatever renews certificates does so earlier; of a short-lived one a quarter of its life may be left.
const RENEWED_BEFORE: TimeDelta = TimeDelta::days(14);

pub async fn certificate(serve: &ServeSettings, now: DateTime<Utc>) -> Opinion {
    let Some((cert, key)) = serve.tls_cert.clone().zip(serve.tls_key.clone()) else {
        return Ok("it is off; connections are in the clear, for a proxy on this machine or a private network".into());
    };
    let shown = cert.display().to_string();
    let chain = TlsFiles { cert, key }.look().await.map_err(|error| error.to_string())?;
    let mut ends = None;
    for (number, certificate) in chain.iter().enumerate() {
        let which = if number == 0 { "the certificate" } else { "a certificate that vouches for it" };
        let Some([from, until]) = validity(certificate) else {
            return Err(format!("{shown}: {which} cannot be read; give another"));
        };
        let say = |what: &str, time: DateTime<Utc>, cure: &str| {
            Err(format!("{shown}: {which} {what} {}; {cure}", time.format("%F %T UTC")))
        };
        if now < from {
            return say("is not valid before", from, "wait, or set the clock of this machine or of who made it");
        } else if until < now {
            return say("expired at", until, "renew it; the files are read again, with no restart");
        } else if until - now < RENEWED_BEFORE.min((until - from) / 4) {
            return say("expires soon, at", until, "renew it, and see why nothing has done so");
        }
        ends = ends.into_iter().chain([until]).min();
    }
    Ok(format!("{shown} and its key fit; good until {}", ends.unwrap_or(now).format("%F %T UTC")))
}

/// From when until when it is good. The library that judges certificates tells what it has against one before all time
/// and after all time, and reads no more of it than that.
fn validity(certificate: &CertificateDer<'_>) -> Option<[DateTime<Utc>; 2]> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let judge = |at: Duration| {
        let (nobody, at) = (RootCertStore::empty(), UnixTime::since_unix_epoch(at));
        match verify_server_cert_signed_by_trust_anchor(&certificate, &nobody, &[], at, &[]) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidYetContext { not_before: time, .. }
                | CertificateError::ExpiredContext { not_after: time, .. },
            )) => DateTime::from_timestamp(i64::try_from(time.as_secs()).ok()?, 0),
            _ => None,
        }
    };
    Some([judge(Duration::ZERO)?, judge(Duration::MAX)?])
}
