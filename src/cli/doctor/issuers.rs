//! Checks of issuers: their keys can be fetched.

use futures_util::future::join_all;

use crate::cli::doctor::CheckResult;
use crate::config::{IssuerSettings, ServeSettings};

pub async fn check_issuers(settings: &IssuerSettings, serve: &ServeSettings) -> CheckResult {
    let issuers = settings.trusted(None).map_err(|error| error.to_string())?;
    let probes = issuers.iter().map(async |issuer| match issuer.probe().await {
        Ok(()) => None,
        Err(reason) => Some(format!("{}: {reason}", issuer.issuer)),
    });
    let failed: Vec<_> = join_all(probes).await.into_iter().flatten().collect();
    if !failed.is_empty() {
        return Err(format!(
            "{}; fix --issuer (MINTKEY_ISSUER), the issuer, or the network between (for a private CA: SSL_CERT_FILE); \
             meanwhile, tokens of the issuer get 503",
            failed.join("; ")
        ));
    }
    let configured = match issuers.len() {
        0 => "none configured".to_owned(),
        number => format!("configured, with keys: {number}"),
    };
    Ok(match (settings.accepts_built_in(), serve.listen.ip().is_loopback()) {
        (false, _) => configured,
        (true, true) => format!("{configured}; tokens of `mintkey token` are accepted"),
        (true, false) => format!(
            "{configured}; tokens of `mintkey token` are accepted (development only) at an address that other machines can \
             reach; for production, set --issuer (MINTKEY_ISSUER) without --standalone-issuer"
        ),
    })
}
