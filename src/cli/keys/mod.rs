//! `mintkey keys`: manages keys in the database, whether or not the server is running.

mod output;
mod revocation_log;
mod revoke_matching;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use clap::{Args, Subcommand};
use uuid::Uuid;

use crate::cli::serve::new_services;
use crate::cli::{CommandError, open_existing_store, print_output};
use crate::config::{
    DataSettings, IfMissing, KeySettings, SecretSettings, parse_duration, parse_grace, parse_scopes_setting,
};
use crate::domain::access::AccessFilter;
use crate::domain::api_key::KeyStatus;
use crate::domain::audit::{AuditContext, RequestSource};
use crate::domain::caller::{Caller, Credential};
use crate::domain::clock::Clock;
use crate::domain::id::new_id;
use crate::domain::issuer_policy::IssuerPolicy;
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner;
use crate::domain::precondition::Precondition;
use crate::domain::scope::Scopes;
use crate::domain::secret_hash::Peppers;
use crate::service::Services;
use crate::service::built_in_issuer::ISSUER;
use crate::service::cache::{CacheBudget, CacheConfig};
use crate::service::issuer::is_valid_identifier;
use crate::service::keys::{KeyFilter, NewKey, RequestedExpiry, RevocationRequest};
use crate::service::peppers::{check_peppers, register_peppers};
use crate::store::{Access, Store};
use output::{print_issued, print_list, print_record, print_revoked};
use revoke_matching::{RevokeMatchingArgs, revoke_matching};

#[derive(Args)]
pub struct KeysCommand {
    /// Print JSON in the API's format.
    #[arg(long, global = true, display_order = 100)]
    json: bool,
    #[command(subcommand)]
    action: KeysAction,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
struct StoreArgs {
    #[command(flatten)]
    keys: KeySettings,
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    secrets: SecretSettings,
}

#[derive(Subcommand)]
enum KeysAction {
    /// Create a key and print its secret. The secret cannot be shown again.
    Create(CreateArgs),
    /// List keys, newest first, including deleted keys.
    List(ListArgs),
    /// Show a key and its active secrets.
    Show {
        /// Id of the key.
        id: Uuid,
    },
    /// Revoke a key permanently.
    Revoke {
        /// Id of the key.
        id: Uuid,
        /// Reason, stored with the revocation.
        #[arg(long, value_parser = KeyName::new)]
        reason: Option<KeyName>,
        /// Revoke the keys that it created, too, those that they created, and so on [default: --revoke-descendants]
        #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        descendants: Option<bool>,
    },
    /// Revoke all keys that match every given filter. `mintkey serve` continues a revocation that is interrupted.
    RevokeMatching(RevokeMatchingArgs),
    /// Issue a new secret for a key and print it.
    Rotate {
        /// Id of the key.
        id: Uuid,
        /// How long the old secret keeps working, up to 30d [default: 0]
        #[arg(long, value_name = "DURATION", value_parser = parse_grace)]
        grace: Option<Duration>,
    },
    /// Print the position from which a backup that begins now needs the exported revocations.
    BackupPosition,
    /// Export key revocations and restrictions, as JSON lines. Keep the output with your backups.
    ExportRevocations {
        /// What `backup-position` printed before the backup. Without it, all are exported.
        #[arg(long, value_name = "POSITION", value_parser = parse_position)]
        since: Option<i64>,
    },
    /// Re-apply exported revocations after restoring a backup.
    ApplyRevocations {
        /// File with the exported lines, or - for standard input.
        #[arg(value_name = "FILE")]
        log: PathBuf,
    },
}

impl KeysAction {
    fn access(&self) -> Access {
        match self {
            Self::List(_) | Self::Show { .. } | Self::BackupPosition | Self::ExportRevocations { .. } => Access::Read,
            Self::RevokeMatching(args) if args.dry_run => Access::Read,
            Self::Create(_)
            | Self::Revoke { .. }
            | Self::RevokeMatching(_)
            | Self::Rotate { .. }
            | Self::ApplyRevocations { .. } => Access::ReadWrite,
        }
    }
}

#[derive(Args)]
struct CreateArgs {
    /// Subject of the owner, as in the `sub` claim of the owner's tokens.
    #[arg(long, value_name = "SUBJECT", value_parser = parse_identifier)]
    owner: String,
    /// Issuer of the owner's tokens.
    #[arg(long, default_value = ISSUER, value_parser = parse_identifier)]
    issuer: String,
    /// Organization of the owner, as in the owner's tokens. Another one, or none, is another owner.
    #[arg(long, value_parser = parse_identifier)]
    organization: Option<String>,
    /// Label of the key.
    #[arg(long, value_parser = KeyName::new)]
    name: KeyName,
    /// Scopes of the key, separated by spaces, not by commas, such as "api-keys:verify orders:read".
    #[arg(long, default_value = "", value_parser = parse_scopes_setting)]
    scopes: Scopes,
    /// Lifetime of the key, such as 90d [default: --default-lifetime]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    expires_in: Option<Duration>,
}

#[derive(Args)]
struct ListArgs {
    /// Only keys of owners with this subject, of any issuer and organization.
    #[arg(long, value_name = "SUBJECT")]
    owner: Option<String>,
    /// Only keys of owners with this issuer.
    #[arg(long)]
    issuer: Option<String>,
    /// Only keys of owners with this organization. Empty: of owners without one.
    #[arg(long)]
    organization: Option<String>,
    /// Only keys that this key created.
    #[arg(long, value_name = "ID")]
    created_by_key: Option<Uuid>,
    /// Only keys with this status.
    #[arg(long, value_parser = KeyStatus::ALL.map(KeyStatus::as_str))]
    status: Option<String>,
}

pub async fn execute_keys(KeysCommand { json, action, store }: KeysCommand) -> Result<(), CommandError> {
    // Each key is read once, so caching would gain nothing.
    let cache = CacheConfig { budget: CacheBudget(0), ttl: Duration::ZERO, max_staleness: Duration::ZERO };
    let StoreArgs { keys, data, secrets } = store;
    keys.validate()?;
    let access = action.access();
    let store = open_existing_store(&data, access).await?;
    let peppers = match usable_peppers(&store, access, &data, &secrets).await {
        Ok(peppers) => peppers,
        Err(error) => {
            // SQLite removes its log and shared memory only when it is closed.
            store.close().await?;
            return Err(error);
        }
    };
    let services = new_services(store, peppers, &keys, cache, Vec::new());
    let policy = IssuerPolicy::UNLIMITED.with_max_lifetime(keys.max_lifetime);
    let outcome = execute(&services, policy, action, json).await;
    services.close().await?;
    outcome
}

/// Derives the peppers and checks them against the database.
async fn usable_peppers(
    store: &Store,
    access: Access,
    data: &DataSettings,
    secrets: &SecretSettings,
) -> Result<Peppers, CommandError> {
    let peppers = secrets.peppers(data, IfMissing::Reject)?;
    match access {
        Access::ReadWrite => Ok(register_peppers(store, peppers, secrets.missing_pepper(), Clock::System.now()).await?),
        _ => {
            check_peppers(store, &peppers, secrets.missing_pepper()).await?;
            Ok(peppers)
        }
    }
}

async fn execute(
    services: &Services,
    policy: IssuerPolicy,
    action: KeysAction,
    json: bool,
) -> Result<(), CommandError> {
    let (caller, source) = operator_caller(policy);
    let audit = AuditContext { caller: &caller, source: &source, at: services.now() };
    match action {
        KeysAction::Create(args) => create(services, &audit, args, json).await?,
        KeysAction::List(ListArgs { owner, issuer, organization, created_by_key, status }) => {
            let status = status.as_deref().and_then(KeyStatus::parse);
            let filter =
                KeyFilter { issuer, subject: owner, organization, created_by_key, status, ..KeyFilter::default() };
            print_list(services, filter, json).await?;
        }
        KeysAction::Show { id } => {
            print_record(services.keys.get(AccessFilter::Any, id, &Precondition::None).await?, audit.at, json)?;
        }
        KeysAction::Revoke { id, reason, descendants } => {
            let reason = reason.map(|reason| reason.as_str().to_owned());
            let request = RevocationRequest { reason, descendants };
            let revoked = services.keys.revoke(&audit, AccessFilter::Any, id, request, &Precondition::None).await?;
            print_revoked(revoked, audit.at, json)?;
        }
        KeysAction::RevokeMatching(args) => revoke_matching(services, &audit, args, json).await?,
        KeysAction::Rotate { id, grace } => {
            let grace = TimeDelta::from_std(grace.unwrap_or_default())?;
            print_issued(
                services.keys.rotate(&audit, AccessFilter::Any, id, grace, &Precondition::None, None).await?,
                json,
            )?;
        }
        KeysAction::BackupPosition => revocation_log::print_position(services).await?,
        KeysAction::ExportRevocations { since } => revocation_log::export_revocations(services, since).await?,
        KeysAction::ApplyRevocations { log } => {
            let lines = revocation_log::open_log(&log)?;
            print_output(revocation_log::apply_revocations(services, &audit, lines).await?)?;
        }
    }
    Ok(())
}

async fn create(
    services: &Services,
    audit: &AuditContext<'_>,
    args: CreateArgs,
    json: bool,
) -> Result<(), CommandError> {
    let CreateArgs { owner, issuer, organization, name, scopes, expires_in } = args;
    let owner = Owner { issuer, subject: owner, organization };
    let expiry = expires_in.map(TimeDelta::from_std).transpose()?.map(RequestedExpiry::After);
    let new = NewKey { name, scopes, metadata: Metadata::default(), expiry };
    print_issued(services.keys.create(audit, &owner, new, None).await?, json)
}

/// Parses a part of an owner, which must be one that a token can have.
fn parse_identifier(text: &str) -> Result<String, String> {
    match is_valid_identifier(text) {
        true => Ok(text.to_owned()),
        false => Err("give 1 to 255 bytes without control characters".to_owned()),
    }
}

fn parse_position(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "give the number that `mintkey keys backup-position` printed before the backup".to_owned())
}

/// The caller that audit events name: the operating system's user.
fn operator_caller(policy: IssuerPolicy) -> (Caller, RequestSource) {
    let subject = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "operator".to_owned());
    let owner = Owner { issuer: "urn:mintkey:console".to_owned(), subject, organization: None };
    let caller = Caller { owner: owner.into(), scopes: Arc::default(), credential: Credential::Operator, policy };
    let request_id = new_id(Clock::System.now()).to_string();
    (caller, RequestSource { request_id, client_address: None, user_agent: None })
}
