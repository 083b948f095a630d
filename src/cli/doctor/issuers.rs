//! Issuers: whether their tokens could be judged.

use futures_util::future::join_all;

use crate::cli::doctor::Opinion;
use crate::config::{IssuerSettings, ServeSettings};

pub async fn issuers(settings: &IssuerSettings, serve: &ServeSettings) -> Opinion {
    let issuers = settings.trusted(None).map_err(|error| error.to_string())?;
    let looks = issuers.iter().map(async |issuer| match issuer.look().await {
        Ok(()) => None,
        Err(why) => Some(format!("{}: {why}", issuer.issuer)),
    });
    let wrong: Vec<_> = join_all(looks).await.into_iter().flatten().collect();
    if !wrong.is_empty() {
        return Err(format!(
            "{}; mend --issuer (MINTKEY_ISSUER), the issuer, or the way to it (for a private CA: SSL_CERT_FILE); until then \
             its tokens are answered with 503",
            wrong.join("; ")
        ));
    }
    let others = match issuers.len() {
        0 => "there are none".to_owned(),
        number => format!("those given have keys: {number}"),
    };
    Ok(match (settings.standalone(), serve.listen.ip().is_loopback()) {
        (false, _) => others,
        (true, true) => format!("{others}; tokens of `mintkey token` are believed"),
        (true, false) => format!(
            "{others}; tokens of `mintkey token` are believed, which is for trying out, at an address that other machines \
             reach: for users of your own, give --issuer (MINTKEY_ISSUER), without --standalone-issuer"
        ),
    })
}
