//! Command line: `serve | doctor | migrate | backup | token | keys | openapi`.

mod doctor;
mod keys;
#[cfg(test)]
mod reference;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, DataSettings, IssuerSettings, KeySettings, ServeSettings, SigningSettings};
use crate::domain::clock::Clock;
use crate::openapi::Document;
use crate::server::{self, Limits, Server, TlsFiles};
use crate::service::Service;
use crate::service::auth::VerifiedTokens;
use crate::service::built_in_issuer::{SigningKey, TokenSubject};
use crate::service::cache::KeyCache;
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
    /// Copy a SQLite database that may be in use, whole and as of one moment.
    Backup(BackupCommand),
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
    issuers: IssuerSettings,
    #[command(flatten)]
    serve: ServeSettings,
}

#[derive(Args)]
struct BackupCommand {
    /// File to be made.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    data: DataSettings,
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
    #[command(flatten)]
    issuers: IssuerSettings,
}

type Failure = Box<dyn std::error::Error>;

pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(command) => block_on(serve(command)),
        Command::Doctor(command) => block_on(doctor::run(command)),
        Command::Migrate(data) => block_on(migrate(data)),
        Command::Backup(command) => block_on(backup(command)),
        Command::Token(command) => token(&command),
        Command::Keys(command) => block_on(keys::run(command)),
        Command::Openapi => {
            print!("{}", Document::new().yaml());
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has had enough: `mintkey keys list | head`.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mintkey: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

async fn serve(ServeCommand { data, keys, signing, issuers, serve }: ServeCommand) -> Result<(), Failure> {
    let traces = telemetry::start(serve.log_format, serve.log_level)?;
    let signing = issuers.standalone().then(|| data.signing_key(&signing)).transpose()?;
    let issuers = issuers.trusted(signing.as_ref())?;
    let taken = |setting: &str, address, error| {
        format!("{setting}: {address}: {error}; give an address and port that are free")
    };
    let mut server =
        Server::bind(serve.listen).map_err(|error| taken("--listen (MINTKEY_LISTEN)", serve.listen, error))?;
    if let Some(address) = serve.admin_listen {
        let bound = server.bind_admin(address);
        bound.map_err(|error| taken("--admin-listen (MINTKEY_ADMIN_LISTEN)", address, error))?;
    }
    let tls = serve.tls_cert.zip(serve.tls_key).map(|(cert, key)| TlsFiles { cert, key });
    let server = server.with_tls(tls).await?;
    let service = service(&data, &keys).await?;
    if serve.welcome {
        welcome(&server, signing.as_ref(), &service.clock)?;
    }
    let limits = Limits {
        connections: server::connections(serve.max_connections as usize),
        head_timeout: serve.head_timeout,
        idle_timeout: serve.idle_timeout,
        request_timeout: serve.request_timeout,
        shutdown_timeout: serve.shutdown_timeout,
    };
    let served = server.run(Service { issuers: issuers.into(), ..service }, &limits, traces.is_some()).await;
    if let Some(traces) = traces {
        tokio::task::spawn_blocking(|| traces.end()).await?;
    }
    Ok(served?)
}

/// The store, opened and brought up to date, with the secrets that belong to it.
async fn service(data: &DataSettings, keys: &KeySettings) -> Result<Service, Failure> {
    let clock = Clock::System;
    // Settings first: what is wrong with them is told without waiting for a database.
    data.database_url()?;
    let peppers = data.peppers()?;
    let store = open(data).await?;
    store.verify_or_register_peppers(&peppers, clock.now()).await?;
    let allowed_scopes = keys.allowed_scopes.clone().map(Arc::new);
    let tokens = VerifiedTokens::new(&peppers).into();
    Ok(Service {
        store,
        clock,
        peppers,
        prefix: keys.key_prefix.clone(),
        allowed_scopes,
        issuers: Vec::new().into(),
        tokens,
        cache: Arc::new(KeyCache::new(keys.cache_entries, keys.cache_ttl, keys.max_staleness)),
        owners: Arc::default(),
        scopes: Arc::default(),
        answers: Arc::default(),
        usage: Arc::default(),
    })
}

async fn open(data: &DataSettings) -> Result<Store, Failure> {
    let opened = Store::open(&data.database_url()?, data.database_connections).await;
    Ok(opened.map_err(|error| format!("--database-url (MINTKEY_DATABASE_URL): {error}"))?)
}

/// The socket is bound by now, so a command pasted at once is answered, if only after the start is done.
fn welcome(server: &Server, signing: Option<&SigningKey>, clock: &Clock) -> Result<(), Failure> {
    let alice = TokenSubject { subject: "alice", scopes: "", organization: None };
    let token = signing.map(|key| key.token(&alice, Duration::from_secs(3600), clock.now())).transpose()?;
    let (whose, token) = match &token {
        Some(token) => ("as alice, with a token of one hour", token.as_str()),
        None => ("with an access token of your issuer in place of TOKEN", "TOKEN"),
    };
    let url = server.url();
    println!(
        "\nmintkey is at {url}\n\
         The API, to read and to try: {url}/docs\n\
         Make a first API key, {whose}:\n\n\
         curl --request POST --url {url}/api/auth/api-keys/ --header 'Authorization: Bearer {token}' \
         --header 'Content-Type: application/json' --data '{{ \"name\": \"example\" }}'\n"
    );
    Ok(())
}

async fn migrate(data: DataSettings) -> Result<(), Failure> {
    Ok(open(&data).await?.close().await?)
}

async fn backup(BackupCommand { to, data }: BackupCommand) -> Result<(), Failure> {
    // For its owner alone, as the database is.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
    let file = made.map_err(|error| format!("--to {}: {error}; give a file that is not there yet", to.display()))?;
    let store = open(&data).await?;
    let copied = store.backup_to(&to).await;
    store.close().await?;
    if copied.is_err() {
        std::fs::remove_file(&to)?;
    }
    copied?;
    Ok(file.sync_all()?)
}

fn token(command: &TokenCommand) -> Result<(), Failure> {
    if !command.issuers.standalone() {
        return Err(
            "with --issuer (MINTKEY_ISSUER), tokens of `mintkey token` are accepted nowhere; get one from the \
            issuer, or serve and ask with --standalone-issuer (MINTKEY_STANDALONE_ISSUER=true)"
                .into(),
        );
    }
    let signing = command.data.signing_key(&command.signing)?;
    let subject = TokenSubject {
        subject: &command.subject,
        scopes: &command.scopes,
        organization: command.organization.as_deref(),
    };
    println!("{}", signing.token(&subject, command.ttl, Clock::System.now())?);
    Ok(())
}
