//! `mintkey doctor`: checks the configuration and environment that `serve` would use, without changing anything.
//!
//! Each check returns a [`CheckResult`]. To add one, write a function in the file of its subject and list it in
//! [`check_deployment`]; a failure's text must say what to change.

mod database;
mod disk;
mod host;
mod issuers;
mod network;
mod remedy;
mod secrets;
mod tls;

use crate::cli::serve::ServeCommand;
use crate::cli::{CommandError, print_output};
use crate::domain::clock::Clock;
use crate::store::Store;

/// What a check found: a description of the good state, or the problem and its remedy.
type CheckResult = Result<String, String>;

pub async fn check_deployment(command: ServeCommand) -> Result<(), CommandError> {
    let ServeCommand { data, secrets, signing, issuers, keys, serve, .. } = &command;
    let url = data.database_url().map_err(|error| error.to_string());
    let now = Clock::System.now();
    let report = database::inspect_database(&url, now).await;
    let file = url.ok().as_deref().and_then(Store::file);
    let results = [
        ("data directory", disk::check_directory(&data.data_dir)),
        ("files", disk::check_files(data, &disk::secret_files(&command), file.as_deref())),
        ("disk", disk::check_space(&data.data_dir, file.as_deref())),
        ("database", database::check_database(&report, file.as_deref())),
        ("database connections", database::check_connections(data, &report)),
        ("database notifications", database::check_notifications(&report)),
        ("database durability", database::check_durability(&report)),
        ("database encryption", database::check_encryption(&report)),
        ("master secret", secrets::check_master_secret(data, secrets, &report)),
        ("signing key", secrets::check_signing_key(data, signing)),
        ("issuers", issuers::check_issuers(issuers, keys, serve).await),
        ("issuer policies", issuers::check_policies(issuers, keys)),
        ("listen", network::check_addresses(serve).await),
        ("trusted proxies", network::describe_trusted_proxies(serve)),
        ("tls", tls::check_certificate(serve, now).await),
        ("file descriptors", host::check_descriptors(serve)),
        ("clock", host::check_clock(now, file.as_deref(), &report)),
        ("traces", network::check_collector()),
    ];
    print_results(&results)?;
    match results.iter().filter(|(_, result)| result.is_err()).count() {
        0 => Ok(()),
        1 => Err("1 check failed".into()),
        failures => Err(format!("{failures} checks failed").into()),
    }
}

/// Prints a line per check.
fn print_results(results: &[(&str, CheckResult)]) -> Result<(), CommandError> {
    for (subject, result) in results {
        match result {
            Ok(state) => print_output(format_args!("ok    {subject}: {state}"))?,
            Err(problem) => print_output(format_args!("FAIL  {subject}: {problem}"))?,
        }
    }
    Ok(())
}
