//! The database URL: what it may contain. sqlx ignores a parameter that it does not know, so a misspelled `sslmode` would
//! connect without TLS.

use sea_orm::sqlx::ConnectOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;

use crate::store::StoreError;
use crate::store::postgres::SETTINGS;

const PARAMETERS: [&str; 13] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "dbname",
    "statement-cache-capacity",
];

pub fn postgres_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    // The parser's error is dropped: it may repeat the URL, which may contain a password.
    let options: PgConnectOptions = url.parse().map_err(|_| {
        StoreError::incompatible(
            "the database URL cannot be read; give postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters \
             of the password percent-encoded",
        )
    })?;
    if options.get_host().contains(',') {
        return Err(StoreError::incompatible(
            "the database URL names several hosts; give one, such as a name that moves with the primary",
        ));
    }
    reject_unknown_parameters(url)?;
    let named = options.get_application_name().is_some();
    let options = if named { options } else { options.application_name("mintkey") };
    Ok(options.options(SETTINGS).disable_statement_logging())
}

fn reject_unknown_parameters(url: &str) -> Result<(), StoreError> {
    let (_, query) = url.split_once('?').unwrap_or_default();
    let query = query.split('#').next().unwrap_or_default();
    let names = query.split('&').map(|parameter| parameter.split('=').next().unwrap_or_default());
    let is_known = |name: &str| name.is_empty() || PARAMETERS.contains(&name) || name.starts_with("options[");
    let Some(unknown) = names.into_iter().find(|name| !is_known(name)) else { return Ok(()) };
    // With an `@`, this may be a password whose `?` is not percent-encoded.
    let unknown = if query.contains('@') { "a parameter" } else { &format!("`{unknown}`, a parameter") };
    Err(StoreError::Incompatible(format!(
        "the database URL has {unknown} that mintkey does not know; give only {}, and percent-encode `?` in the password",
        PARAMETERS.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(url: &str) -> String {
        postgres_options(url).unwrap_err().to_string()
    }

    #[test]
    fn invalid_url_is_not_repeated_in_the_error() {
        let error = error("postgres://user:canary@host:port/database");
        assert!(error.contains("postgres://USER") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn unknown_parameter_is_rejected_by_name() {
        for name in ["sslmod", "channel_binding", "target_session_attrs", "SSLMODE"] {
            let error = error(&format!("postgres://user@host/database?sslrootcert=x&{name}=canary"));
            assert!(error.contains(&format!("`{name}`")) && error.contains("sslmode, sslrootcert"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
        let password = error("postgres://user:1?canary=2@host/database");
        assert!(!password.contains("canary") && password.contains("percent-encode"), "{password}");
    }

    #[test]
    fn known_parameters_and_one_host_are_accepted() {
        for parameter in PARAMETERS {
            let value = match parameter {
                "sslmode" => "verify-full",
                "hostaddr" => "127.0.0.1",
                "port" | "statement-cache-capacity" => "5432",
                _ => "x",
            };
            assert!(postgres_options(&format!("postgres://user@host/database?{parameter}={value}")).is_ok());
        }
        assert!(postgres_options("postgres://user@host/database?options[search_path]=x").is_ok());
        assert!(error("postgres://user@one,two/database").contains("several hosts"));
    }
}
