//! Command line: `serve | doctor | migrate | token | keys | openapi`.

mod doctor;
mod keys;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::api::document::Document;
use crate::config::{self, DataSettings, KeySettings, ServeSettings, SigningSettings};
use crate::domain::clock::Clock;
use crate::server::{Limits, Server};
use crate::service::Service;
use crate::service::bearer::VerifiedTokens;
use crate::service::cache::KeyCache;
use crate::service::standalone::{SigningKey, Subject};
use crate::store::Store;
use crate::telemetry;

/// A self-hosted API-key service.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API; the database is made and brought up to date first.
    Serve(ServeCommand),
    /// Look at the deployment that `serve` would find with the same settings, change nothing, and say in words what is
    /// wrong and how to mend it.
    Doctor(ServeCommand),
    /// Bring the database up to date and exit.
    Migrate(DataSettings),
    /// Print an access token of the standalone issuer, and nothing else, on standard output.
    Token(TokenCommand),
    /// Make, list, show, revoke and rotate keys on the store itself, with or without a running server.
    Keys(keys::KeysCommand),
    /// Print the OpenAPI document as YAML.
    Openapi,
}

#[derive(Args)]
struct ServeCommand {
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    keys: KeySettings,
    #[command(flatten)]
    signing: SigningSettings,
    #[command(flatten)]
    serve: ServeSettings,
}

#[derive(Args)]
struct TokenCommand {
    /// Whom the token stands for.
    #[arg(long)]
    subject: String,
    /// What the token is good for beyond its owner's own keys, separated by spaces, such as "api-keys:verify".
    #[arg(long, default_value = "")]
    scopes: String,
    /// The organisation that the subject acts in.
    #[arg(long)]
    organization: Option<String>,
    /// How long the token is good, such as 30s, 15m, 1h or 7d.
    #[arg(long, default_value = "1h", value_parser = config::duration)]
    ttl: Duration,
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    signing: SigningSettings,
}

type Failure = Box<dyn std::error::Error>;

pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(command) => block_on(serve(command)),
        Command::Doctor(command) => block_on(doctor::run(command)),
        Command::Migrate(data) => block_on(migrate(data)),
        Command::Token(command) => token(&command),
        Command::Keys(command) => block_on(keys::run(command)),
        Command::Openapi => {
            print!("{}", Document::new().yaml());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mintkey: {error}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

async fn serve(ServeCommand { data, keys, signing, serve }: ServeCommand) -> Result<(), Failure> {
    let traces = telemetry::start(serve.log_format, serve.log_level)?;
    let signing = data.signing_key(&signing)?;
    let taken = |setting: &str, address, error| {
        format!("{setting}: {address}: {error}; give an address and port that are free")
    };
    let mut server =
        Server::bind(serve.listen).await.map_err(|error| taken("--listen (MINTKEY_LISTEN)", serve.listen, error))?;
    if let Some(address) = serve.admin_listen {
        let bound = server.bind_admin(address).await;
        bound.map_err(|error| taken("--admin-listen (MINTKEY_ADMIN_LISTEN)", address, error))?;
    }
    let service = service(&data, &keys).await?;
    if serve.welcome {
        welcome(&server, &signing, &service.clock)?;
    }
    let limits = Limits {
        connections: serve.max_connections as usize,
        request_timeout: serve.request_timeout,
        shutdown_timeout: serve.shutdown_timeout,
    };
    let served =
        server.run(Service { issuers: [signing.trusted()].into(), ..service }, &limits, traces.is_some()).await;
    if let Some(traces) = traces {
        tokio::task::spawn_blocking(|| traces.end()).await?;
    }
    Ok(served?)
}

/// The store, opened and brought up to date, with the secrets that belong to it.
async fn service(data: &DataSettings, keys: &KeySettings) -> Result<Service, Failure> {
    let clock = Clock::System;
    let url = data.database_url()?;
    let peppers = data.peppers()?;
    let store = Store::open(&url).await?;
    store.adopt_peppers(&peppers, clock.now()).await?;
    let catalogue = keys.scope_catalogue.clone().map(Arc::new);
    let tokens = VerifiedTokens::new(&peppers).into();
    Ok(Service {
        store,
        clock,
        peppers,
        prefix: keys.key_prefix.clone(),
        catalogue,
        issuers: Vec::new().into(),
        tokens,
        cache: Arc::new(KeyCache::new(keys.cache_entries, keys.cache_ttl)),
        usage: Arc::default(),
    })
}

/// The socket is bound by now, so a command pasted at once is answered, if only after the start is done.
fn welcome(server: &Server, signing: &SigningKey, clock: &Clock) -> Result<(), Failure> {
    let alice = Subject { subject: "alice", scopes: "", organization: None };
    let token = signing.token(&alice, Duration::from_secs(3600), clock.now())?;
    let mut address = server.address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    println!(
        "\nmintkey is at http://{address}\n\
         The API, to read and to try: http://{address}/docs\n\
         Make a first API key, as alice, with a token of one hour:\n\n\
         curl --request POST --url http://{address}/api/auth/api-keys/ --header 'Authorization: Bearer {token}' \
         --header 'Content-Type: application/json' --data '{{ \"name\": \"example\" }}'\n"
    );
    Ok(())
}

async fn migrate(data: DataSettings) -> Result<(), Failure> {
    Ok(Store::open(&data.database_url()?).await?.close().await?)
}

fn token(command: &TokenCommand) -> Result<(), Failure> {
    let signing = command.data.signing_key(&command.signing)?;
    let subject =
        Subject { subject: &command.subject, scopes: &command.scopes, organization: command.organization.as_deref() };
    println!("{}", signing.token(&subject, command.ttl, Clock::System.now())?);
    Ok(())
}
