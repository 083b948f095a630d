//! Checks of issuers: their keys can be fetched. Shows what their tokens can do.

use futures_util::future::join_all;

use crate::cli::doctor::CheckResult;
use crate::config::{IssuerSettings, KeySettings, ServeSettings};
use crate::domain::issuer_policy::{Grants, IssuerPolicy};
use crate::domain::scope::reserved;
use crate::service::built_in_issuer;

pub async fn check_issuers(settings: &IssuerSettings, keys: &KeySettings, serve: &ServeSettings) -> CheckResult {
    let issuers = settings.trusted(None, keys.allowed_scopes.as_ref()).map_err(|error| error.to_string())?;
    let probes = issuers.iter().map(async |issuer| (&issuer.issuer, issuer.probe().await));
    let (mut failed, mut unusable) = (Vec::new(), Vec::new());
    for (issuer, probe) in join_all(probes).await {
        match probe {
            Ok(keys) => unusable.extend(keys.into_iter().map(|key| format!("; {issuer} also publishes {key}"))),
            Err(reason) => failed.push(format!("{issuer}: {reason}")),
        }
    }
    if !failed.is_empty() {
        return Err(format!(
            "{}; fix --issuer (MINTKEY_ISSUER), the issuer, or the network between (for a private CA: SSL_CERT_FILE); \
             meanwhile, tokens of the issuer get 503",
            failed.join("; ")
        ));
    }
    let configured = match issuers.len() {
        0 => "none configured".to_owned(),
        number => format!("keys fetched of all that are configured: {number}{}", unusable.concat()),
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

/// Shows, a line per issuer, what its tokens can do.
pub fn check_policies(settings: &IssuerSettings, keys: &KeySettings) -> CheckResult {
    keys.validate().map_err(|error| error.to_string())?;
    let Ok(issuers) = settings.trusted(None, keys.allowed_scopes.as_ref()) else {
        return Ok("unknown until the issuers are configured without an error".to_owned());
    };
    let configured = issuers.iter().map(|issuer| (issuer.issuer.as_str(), issuer.policy));
    let built_in = settings.accepts_built_in().then_some((built_in_issuer::ISSUER, IssuerPolicy::BUILT_IN));
    let describe = |(issuer, policy): (&str, IssuerPolicy)| {
        format!(
            "{issuer}: {}",
            describe_policy(policy.with_max_lifetime(keys.max_lifetime), keys.allowed_scopes.is_some())
        )
    };
    Ok(configured.chain(built_in).map(describe).collect::<Vec<_>>().join("\n      "))
}

fn describe_policy(policy: IssuerPolicy, has_allowed_scopes: bool) -> String {
    let IssuerPolicy { grants, requires_write, max_lifetime, operators } = policy;
    let scopes = match grants {
        Grants::Any if !has_allowed_scopes => "any scope",
        Grants::Token => "the scopes of the token",
        Grants::Any | Grants::AllowedScopes => "the scopes of --allowed-scopes",
    };
    let required = if requires_write { reserved::WRITE } else { "no scope" };
    let lifetime = match max_lifetime.map(|max| max.to_std().unwrap_or_default()) {
        Some(max) => format!("at most {}", humantime::format_duration(max)),
        None => "without limit".to_owned(),
    };
    let reach = match operators {
        true => "of every issuer and organization",
        false => "of this issuer (of their own organization alone, if they have one)",
    };
    format!(
        "tokens grant {scopes} (grants={}) and need {required} to create keys; keys live {lifetime}; administrators reach the \
         keys {reach}",
        grants.as_str()
    )
}
