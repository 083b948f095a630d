//! Check of the TLS certificate: usable, and not about to expire.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore};

use crate::cli::doctor::CheckResult;
use crate::config::ServeSettings;
use crate::server::TlsFiles;

/// Automatic renewal happens earlier than this. For a short-lived certificate, a quarter of its lifetime applies.
const RENEWAL_MARGIN: TimeDelta = TimeDelta::days(14);

pub async fn check_certificate(serve: &ServeSettings, now: DateTime<Utc>) -> CheckResult {
    let Some((cert, key)) = serve.tls_cert.clone().zip(serve.tls_key.clone()) else {
        return Ok("off; connections are plain HTTP, for a proxy on this machine or a private network".into());
    };
    let path = cert.display().to_string();
    let chain = TlsFiles { cert, key }.check().await.map_err(|error| error.to_string())?;
    let mut ends = None;
    for (index, certificate) in chain.iter().enumerate() {
        let which = if index == 0 { "the certificate" } else { "an intermediate certificate" };
        let Some([from, until]) = validity(certificate) else {
            return Err(format!("{path}: {which} cannot be parsed; set another"));
        };
        let problem = |state: &str, time: DateTime<Utc>, remedy: &str| {
            Err(format!("{path}: {which} {state} {}; {remedy}", time.format("%F %T UTC")))
        };
        if now < from {
            return problem("is not valid before", from, "wait, or set the clock of this machine or of the issuing CA");
        } else if until < now {
            return problem("expired at", until, "renew it; the server reloads the files without a restart");
        } else if until - now < RENEWAL_MARGIN.min((until - from) / 4) {
            return problem("expires soon, at", until, "renew it, and check why automatic renewal has not done so");
        }
        ends = ends.into_iter().chain([until]).min();
    }
    Ok(format!("{path} and its key match; valid until {}", ends.unwrap_or(now).format("%F %T UTC")))
}

/// Returns the validity period. The TLS library does not expose it, but its errors name one bound each: a check at the
/// first instant names the start, one at the last instant names the end.
fn validity(certificate: &CertificateDer<'_>) -> Option<[DateTime<Utc>; 2]> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    let bound = |at: Duration| {
        let (no_roots, at) = (RootCertStore::empty(), UnixTime::since_unix_epoch(at));
        match verify_server_cert_signed_by_trust_anchor(&certificate, &no_roots, &[], at, &[]) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidYetContext { not_before: time, .. }
                | CertificateError::ExpiredContext { not_after: time, .. },
            )) => DateTime::from_timestamp(i64::try_from(time.as_secs()).ok()?, 0),
            _ => None,
        }
    };
    Some([bound(Duration::ZERO)?, bound(Duration::MAX)?])
}
