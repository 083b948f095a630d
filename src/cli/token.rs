//! `mintkey token`: prints an access token of the built-in issuer.

use std::time::Duration;

use clap::Args;

use crate::cli::{CommandError, print_output};
use crate::config::{DataSettings, IfMissing, IssuerSettings, SigningSettings, parse_duration};
use crate::domain::clock::Clock;
use crate::service::built_in_issuer::TokenSubject;

#[derive(Args)]
pub struct TokenCommand {
    /// Subject of the token: the user it stands for.
    #[arg(long)]
    subject: String,
    /// Scopes of the token, separated by spaces, such as "api-keys:verify". None are needed to manage the subject's own
    /// keys.
    #[arg(long, default_value = "")]
    scopes: String,
    /// Organization that the subject acts in.
    #[arg(long)]
    organization: Option<String>,
    /// Lifetime of the token, such as 30s, 15m, 1h or 7d.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    signing: SigningSettings,
    #[command(flatten)]
    issuers: IssuerSettings,
}

/// Prints the token and nothing else on standard output, so that scripts can capture it.
pub fn print_token(command: &TokenCommand) -> Result<(), CommandError> {
    if !command.issuers.accepts_built_in() {
        return Err(
            "with --issuer (MINTKEY_ISSUER) set, the server rejects tokens of `mintkey token`; get one from the issuer, \
            or set --standalone-issuer (MINTKEY_STANDALONE_ISSUER=true) for the server and for this command"
                .into(),
        );
    }
    let signing = command.signing.signing_key(&command.data, IfMissing::Reject)?;
    let subject = TokenSubject {
        subject: &command.subject,
        scopes: &command.scopes,
        organization: command.organization.as_deref(),
    };
    print_output(signing.token(&subject, command.ttl, Clock::System.now())?)
}
