//! `mintkey serve`: runs the server.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::cli::private_files::restrict_files;
use crate::cli::{CommandError, open_store, print_output};
use crate::config::{
    CacheSettings, DataSettings, IfMissing, IssuerSettings, KeySettings, SecretSettings, ServeSettings,
    SigningSettings, setting_name,
};
use crate::domain::clock::Clock;
use crate::domain::secret_hash::Peppers;
use crate::http::client_address::ClientAddressRule;
use crate::http::cors::CorsPolicy;
use crate::server::{self, Limits, Server, TlsFiles};
use crate::service::built_in_issuer::{SigningKey, TokenSubject};
use crate::service::cache::{CacheBudget, CacheConfig};
use crate::service::issuer::TrustedIssuer;
use crate::service::peppers::register_peppers;
use crate::service::{ServiceConfig, Services};
use crate::store::Store;
use crate::telemetry;

#[derive(Args)]
pub struct ServeCommand {
    #[command(flatten)]
    pub serve: ServeSettings,
    #[command(flatten)]
    pub data: DataSettings,
    #[command(flatten)]
    pub secrets: SecretSettings,
    #[command(flatten)]
    pub issuers: IssuerSettings,
    #[command(flatten)]
    pub signing: SigningSettings,
    #[command(flatten)]
    pub keys: KeySettings,
    #[command(flatten)]
    pub cache: CacheSettings,
}

/// Binds the sockets before it opens the database, so that a port in use is reported at once.
pub async fn serve(command: ServeCommand) -> Result<(), CommandError> {
    let ServeCommand { serve, data, secrets, issuers, signing, keys, cache } = command;
    let traces = telemetry::start_telemetry(serve.log_format, serve.log_level)?;
    // Checks the settings first: their errors show without waiting for a database.
    keys.validate()?;
    data.database_url()?;
    data.create_directory()?;
    restrict_files(&data)?;
    let signing = issuers.accepts_built_in().then(|| signing.signing_key(&data, IfMissing::Generate)).transpose()?;
    let issuers = issuers.trusted(signing.as_ref(), keys.allowed_scopes.as_ref())?;
    let server = bind(&serve).await?;
    let budget = CacheBudget(cache.cache_size);
    let introspection_omits_exp = cache.introspection_omit_exp;
    let cache = CacheConfig { budget, ttl: cache.cache_ttl, max_staleness: cache.max_staleness };
    let is_given = !secrets.is_master_secret_missing(&data);
    let given = is_given.then(|| secrets.peppers(&data, IfMissing::Reject)).transpose()?;
    let store = open_store(&data).await?;
    let peppers = match given {
        Some(peppers) => peppers,
        None => generate_master_secret(&store, &secrets, &data).await?,
    };
    let peppers = register_peppers(&store, peppers, secrets.missing_pepper(), Clock::System.now()).await?;
    let mut services = new_services(store, peppers, &keys, cache, issuers);
    services.introspection_omits_exp = introspection_omits_exp;
    if serve.welcome {
        print_welcome(&server, signing.as_ref(), services.clock())?;
    }
    let connections = server::effective_max_connections(serve.max_connections as usize);
    let per_peer = serve.max_connections_per_peer.map_or(connections.div_ceil(2), |number| number as usize);
    let limits = Limits {
        connections,
        connections_per_peer: per_peer.min(connections),
        request_memory: serve.request_memory,
        head_timeout: serve.head_timeout,
        idle_timeout: serve.idle_timeout,
        request_timeout: serve.request_timeout,
        shutdown_timeout: serve.shutdown_timeout,
    };
    let cors = CorsPolicy::new(&serve.cors_origins);
    let clients = ClientAddressRule { proxies: serve.trusted_proxies, header: serve.forwarded_header };
    let served = server.run(services, &limits, cors, clients, traces.is_some()).await;
    if let Some(traces) = traces {
        tokio::task::spawn_blocking(|| traces.end()).await?;
    }
    Ok(served?)
}

/// Generates a master secret and returns its peppers. For an empty database only: another one depends on the master secret
/// that is missing. A server that starts at the same time may generate it first. It does so before it registers a pepper,
/// so the file is there once the database is not empty.
async fn generate_master_secret(
    store: &Store,
    secrets: &SecretSettings,
    data: &DataSettings,
) -> Result<Peppers, CommandError> {
    if store.registered_peppers().await?.is_empty() || !secrets.is_master_secret_missing(data) {
        return Ok(secrets.peppers(data, IfMissing::Generate)?);
    }
    Err(format!(
        "the database has keys, and the master secret that they were hashed with is missing; restore {} from a backup, \
         or give {}",
        data.data_dir.join("master.secret").display(),
        setting_name("master-secret-file")
    )
    .into())
}

async fn bind(settings: &ServeSettings) -> Result<Server, CommandError> {
    let in_use = |flag: &str, address: SocketAddr, error: std::io::Error| {
        format!("{}: {address}: {error}; give an address and port that are free", setting_name(flag))
    };
    let mut server = Server::bind(settings.listen).map_err(|error| in_use("listen", settings.listen, error))?;
    if let Some(address) = settings.admin_listen {
        server.bind_admin(address).map_err(|error| in_use("admin-listen", address, error))?;
    }
    let tls = settings.tls_cert.clone().zip(settings.tls_key.clone()).map(|(cert, key)| TlsFiles { cert, key });
    Ok(server.with_tls(tls).await?)
}

pub fn new_services(
    store: Store,
    peppers: Peppers,
    keys: &KeySettings,
    cache: CacheConfig,
    issuers: Vec<TrustedIssuer>,
) -> Services {
    let config = ServiceConfig {
        peppers,
        prefix: keys.key_prefix.clone(),
        allowed_scopes: keys.allowed_scopes.clone(),
        max_keys_per_owner: keys.max_keys_per_owner,
        max_lifetime: keys.max_lifetime,
        default_lifetime: keys.default_lifetime,
        revoke_descendants: keys.revoke_descendants,
        issuers,
        cache,
        clock: Clock::System,
    };
    Services::new(store, config)
}

/// Prints a curl command. The socket is bound, so the command works when pasted at once: it waits until startup is done.
fn print_welcome(server: &Server, signing: Option<&SigningKey>, clock: &Clock) -> Result<(), CommandError> {
    let alice = TokenSubject { subject: "alice", scopes: "", organization: None };
    let token = signing.map(|key| key.token(&alice, Duration::from_secs(3600), clock.now())).transpose()?;
    let (caller, token) = match &token {
        Some(token) => ("as alice, with a one-hour token", token.as_str()),
        None => ("replacing TOKEN with an access token of your issuer", "TOKEN"),
    };
    let url = server.url();
    let welcome = format!(
        "\nmintkey listens on {url}\n\
         Browse and try the API: {url}/docs\n\
         Create a first API key, {caller}:\n\n\
         curl --request POST --url {url}/api/auth/api-keys/ --header 'Authorization: Bearer {token}' \
         --header 'Content-Type: application/json' --data '{{ \"name\": \"example\" }}'\n"
    );
    if let Err(error) = print_output(welcome) {
        tracing::warn!(%error, "the first command could not be printed on standard output");
    }
    Ok(())
}
