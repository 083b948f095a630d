//! Command line: `serve | doctor | migrate | backup | token | keys | openapi`.
//!
//! One file per command, with its arguments and the function that executes it. To add a command, add such a file, a
//! variant of [`Command`] and an arm in [`run`].

mod backup;
mod doctor;
mod keys;
mod migrate;
mod private_files;
#[cfg(test)]
mod reference;
mod serve;
mod token;

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio_rustls::rustls::crypto::aws_lc_rs;

use crate::config::{DataSettings, setting_name};
use crate::domain::clock::Clock;
use crate::openapi::Document;
use crate::store::{Access, Store};
use crate::telemetry;

#[derive(Parser)]
#[command(name = "mintkey", version, about = "Self-hosted API-key service.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server. Creates and migrates the database, and generates missing secrets, on startup.
    Serve(serve::ServeCommand),
    /// Check the configuration and environment `serve` would use, without changing anything. Exits 1 if a check fails.
    Doctor(serve::ServeCommand),
    /// Create the database if it is missing, apply pending migrations and exit.
    Migrate(DataSettings),
    /// Write a consistent copy of the SQLite database. Safe while the server is running.
    Backup(backup::BackupCommand),
    /// Print an access token signed by the built-in issuer (development only).
    Token(token::TokenCommand),
    /// Manage keys directly in the database. Works whether or not the server is running.
    Keys(keys::KeysCommand),
    /// Print the OpenAPI document as YAML.
    Openapi,
}

/// The error of a command: text for the user, on standard error.
type CommandError = Box<dyn std::error::Error>;

/// The whole command line, for the generated reference pages.
pub fn command() -> clap::Command {
    Cli::command()
}

pub fn run() -> ExitCode {
    // sqlx takes the process's provider for `sslmode=verify-ca`, and panics without one. It is the one that the listener
    // uses. An error says only that one is installed already.
    let _ = aws_lc_rs::default_provider().install_default();
    let command = Cli::parse().command;
    let outcome = Clock::System.ensure_set().map_err(Into::into).and_then(|()| execute_command(command));
    telemetry::flush_logs();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The reader closed the pipe, as in `mintkey openapi | head`.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            // Unlike `eprintln!`, it does not panic when the reader of standard error has left, too.
            let _unread = writeln!(std::io::stderr(), "mintkey: {error}");
            ExitCode::FAILURE
        }
    }
}

fn execute_command(command: Command) -> Result<(), CommandError> {
    match command {
        Command::Serve(command) => block_on(serve::serve(command)),
        Command::Doctor(command) => block_on(doctor::check_deployment(command)),
        Command::Migrate(data) => block_on(migrate::migrate(data)),
        Command::Backup(command) => block_on(backup::backup(command)),
        Command::Token(command) => token::print_token(&command),
        Command::Keys(command) => block_on(keys::execute_keys(command)),
        Command::Openapi => print_output(Document::new().to_yaml().trim_end()),
    }
}

/// Prints text and a line break on standard output. A command returns the error: unlike `println!`, which panics when the
/// reader has closed the pipe.
fn print_output(text: impl Display) -> Result<(), CommandError> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn block_on(work: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Opens the store, creates its database if that is a SQLite file, and applies pending migrations. For `serve` and
/// `migrate` alone.
async fn open_store(data: &DataSettings) -> Result<Store, CommandError> {
    let opened = Store::open(&data.database_url()?, data.database_connections).await;
    Ok(opened.map_err(|error| format!("{}: {error}", setting_name("database-url")))?)
}

/// Opens a store whose database exists and is up to date. Creates and migrates nothing.
async fn open_existing_store(data: &DataSettings, access: Access) -> Result<Store, CommandError> {
    let opened = Store::open_existing(&data.database_url()?, data.database_connections, access).await;
    let settings = || format!("{} or {}", setting_name("database-url"), setting_name("data-dir"));
    Ok(opened.map_err(|error| format!("{}: {error}", settings()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_tree_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_and_option_has_a_help_line() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no help line", command.get_name());
            for option in command.get_arguments() {
                assert!(option.get_help().is_some(), "{} of {} has no help line", option.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }

    #[test]
    fn keys_create_help_shows_its_own_options_first() {
        let mut command = command();
        command.build();
        let keys = command.find_subcommand_mut("keys").unwrap();
        let help = keys.find_subcommand_mut("create").unwrap().render_help().to_string();
        let position = |text: &str| help.find(text).unwrap_or_else(|| panic!("{text} is not in {help}"));
        let order =
            ["--owner", "--expires-in", "--json", "Key options:", "--key-prefix", "Storage options:", "--data-dir"];
        assert!(order.map(position).is_sorted(), "{help}");
    }
}
