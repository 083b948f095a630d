//! `mintkey keys`: the operator's hand on the store, with or without a running server.

mod revocation_log;

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand};
use poem_openapi::types::ToJSON;
use serde_json::Value;
use uuid::Uuid;

use crate::api::keys::responses::ApiKeyCreateResponse;
use crate::api::keys::schemas::ApiKey;
use crate::cli::Failure;
use crate::config::{self, DataSettings, KeySettings};
use crate::domain::access::AccessFilter;
use crate::domain::api_key::{ApiKey as Key, KeyRecord, KeyStatus, Revocation};
use crate::domain::audit::{AuditContext, RequestSource};
use crate::domain::caller::{Caller, Credential};
use crate::domain::clock::Clock;
use crate::domain::id::new_id;
use crate::domain::key_name::KeyName;
use crate::domain::metadata::Metadata;
use crate::domain::owner::Owner;
use crate::domain::precondition::Precondition;
use crate::domain::scope::{Scope, Scopes};
use crate::service::Service;
use crate::service::built_in_issuer::ISSUER;
use crate::service::keys::{IssuedKey, KeyFilter, KeyQuery, NewKey, RequestedExpiry};

#[derive(Args)]
pub struct KeysCommand {
    #[command(flatten)]
    place: Place,
    /// Print JSON, as the API answers it, instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Args)]
struct Place {
    #[command(flatten)]
    data: DataSettings,
    #[command(flatten)]
    keys: KeySettings,
}

#[derive(Subcommand)]
enum Action {
    /// Make a key and print its secret, once.
    Create {
        /// Subject of the owner, as the issuer's tokens name them.
        #[arg(long, value_name = "SUBJECT")]
        owner: String,
        /// Issuer of the owner's tokens.
        #[arg(long, default_value = ISSUER)]
        issuer: String,
        /// Organisation of the owner.
        #[arg(long)]
        organization: Option<String>,
        /// Label of the key.
        #[arg(long, value_parser = KeyName::new)]
        name: KeyName,
        /// What the key may be used for, separated by spaces, such as "api-keys:verify".
        #[arg(long, default_value = "", value_parser = config::scopes)]
        scopes: Scopes,
        /// How long the key lives, such as 90d [default: without end]
        #[arg(long, value_name = "DURATION", value_parser = config::duration)]
        expires_in: Option<std::time::Duration>,
    },
    /// List keys, newest first, deleted ones too.
    List {
        /// Only keys of this subject.
        #[arg(long, value_name = "SUBJECT")]
        owner: Option<String>,
        /// Only keys made under tokens of this issuer.
        #[arg(long)]
        issuer: Option<String>,
        /// Only keys of this organisation.
        #[arg(long)]
        organization: Option<String>,
        /// Only keys that are this now.
        #[arg(long, value_parser = ["active", "expired", "disabled", "revoked"])]
        status: Option<String>,
    },
    /// Show one key with its live secrets.
    Show { id: Uuid },
    /// Revoke a key, for good.
    Revoke {
        id: Uuid,
        /// Why, for whoever asks later.
        #[arg(long, value_parser = KeyName::new)]
        reason: Option<KeyName>,
    },
    /// Give a key a new secret and print it, once.
    Rotate {
        id: Uuid,
        /// For how long the old secret stays good beside the new one, up to 30d [default: it ends now]
        #[arg(long, value_name = "DURATION", value_parser = config::grace)]
        grace: Option<std::time::Duration>,
    },
    /// Print what ended or narrowed keys since a time, one JSON object a line, to be kept beside the backups.
    Journal {
        /// When the backup was begun, such as 2026-11-23T04:00:00Z.
        #[arg(long, value_name = "TIME")]
        since: DateTime<Utc>,
    },
    /// End, in a database restored from a backup, what a journal says was ended since.
    Replay {
        /// File of the journal's lines, or - for standard input.
        journal: PathBuf,
    },
}

pub async fn run(KeysCommand { place, action, json }: KeysCommand) -> Result<(), Failure> {
    let service = crate::cli::service(&place.data, &place.keys).await?;
    let outcome = act(&service, action, json).await;
    service.store.close().await?;
    outcome
}

async fn act(service: &Service, action: Action, json: bool) -> Result<(), Failure> {
    let print = |value: Value, text: String| println!("{}", if json { value.to_string() } else { text });
    let (caller, origin) = operator();
    let audit = AuditContext { caller: &caller, origin: &origin, at: service.clock.now() };
    match action {
        Action::Create { owner, issuer, organization, name, scopes, expires_in } => {
            let owner = Owner { issuer, subject: owner, organization };
            let ending = expires_in.map(TimeDelta::from_std).transpose()?.map(RequestedExpiry::After);
            let new = NewKey { name, scopes, metadata: Metadata::default(), ending };
            let issued = service.create_key(&audit, &owner, new, None).await?;
            let text = issued_text(&issued);
            print(json_of(&ApiKeyCreateResponse::from(issued)), text);
        }
        Action::List { owner, issuer, organization, status } => {
            let status = KeyStatus::ALL.into_iter().find(|known| Some(known.as_str()) == status.as_deref());
            let filter = KeyFilter { issuer, subject: owner, organization, status, ..KeyFilter::default() };
            list(service, filter, json).await?;
        }
        Action::Show { id } => {
            let record = service.find_key(AccessFilter::Any, id, &Precondition::None).await?;
            let text = record_text(&record, audit.at);
            print(json_of(&ApiKey::with_secrets(record, audit.at)), text);
        }
        Action::Revoke { id, reason } => {
            let reason = reason.map(|reason| reason.as_str().to_owned());
            let record = service.revoke_key(&audit, AccessFilter::Any, id, reason).await?;
            let text = record_text(&record, audit.at);
            print(json_of(&ApiKey::with_secrets(record, audit.at)), text);
        }
        Action::Rotate { id, grace } => {
            let grace = TimeDelta::from_std(grace.unwrap_or_default())?;
            let issued = service.rotate_key(&audit, AccessFilter::Any, id, grace, None).await?;
            let text = issued_text(&issued);
            print(json_of(&ApiKeyCreateResponse::from(issued)), text);
        }
        Action::Journal { since } => revocation_log::print(service, since).await?,
        Action::Replay { journal } if journal.as_os_str() == "-" => {
            println!("{}", revocation_log::replay(service, &audit, std::io::stdin().lock()).await?);
        }
        Action::Replay { journal } => {
            let file = File::open(&journal).map_err(|error| format!("{}: {error}", journal.display()))?;
            println!("{}", revocation_log::replay(service, &audit, BufReader::new(file)).await?);
        }
    }
    Ok(())
}

/// Who acts: the system's user at this machine. Audit events name them.
fn operator() -> (Caller, RequestSource) {
    let subject = std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "operator".to_owned());
    let owner = Owner { issuer: "urn:mintkey:console".to_owned(), subject, organization: None };
    let caller = Caller { owner: owner.into(), scopes: Arc::default(), credential: Credential::Operator };
    let request_id = new_id(Clock::System.now()).to_string();
    (caller, RequestSource { request_id, client_address: None, user_agent: None })
}

async fn list(service: &Service, filter: KeyFilter, json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let mut query = KeyQuery { filter, after: None, limit: 100 };
    let now = service.clock.now();
    if !json {
        writeln!(out, "{:<36}  {:<8}  {:<12}  {:<20}  {:<20}  NAME", "ID", "STATUS", "START", "CREATED", "OWNER")?;
    }
    loop {
        let page = service.list_keys(AccessFilter::Any, &query).await?;
        for key in page.keys {
            if json {
                // One object a line, so that a script can begin before the list ends.
                writeln!(out, "{}", ApiKey::new(key, now).to_json().unwrap_or_default())?;
            } else {
                let status = if key.deleted_at.is_some() { "deleted" } else { key.status(now).as_str() };
                let created = key.created_at.format("%Y-%m-%dT%H:%M:%SZ");
                writeln!(
                    out,
                    "{}  {status:<8}  {:<12}  {created:<20}  {:<20}  {}",
                    key.id,
                    key.start,
                    key.owner.subject,
                    key.name.as_str()
                )?;
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(()),
        }
    }
}

fn json_of(value: &impl ToJSON) -> Value {
    value.to_json().unwrap_or_default()
}

fn issued_text(issued: &IssuedKey) -> String {
    let key = described(&issued.key, issued.key.updated_at);
    let secret = issued.secret.expose();
    format!("{key}secret     {secret}\n\nThe secret is shown this once; keep it now.")
}

fn record_text(record: &KeyRecord, now: DateTime<Utc>) -> String {
    let time = |time: Option<DateTime<Utc>>| time.map_or("never".to_owned(), |time| time.to_rfc3339());
    let secrets = record.live_secrets(now).map(|secret| {
        let (expires, used) = (time(secret.expires_at), time(secret.last_used_at));
        format!("secret     {}...{}, ends {expires}, last used {used}\n", secret.start, secret.last4)
    });
    (described(&record.key, now) + &secrets.collect::<String>()).trim_end().to_owned()
}

fn described(key: &Key, now: DateTime<Utc>) -> String {
    let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
    let mut lines = vec![
        ("id", key.id.to_string()),
        ("name", key.name.as_str().to_owned()),
        ("status", key.status(now).as_str().to_owned()),
        ("owner", format!("{} ({})", key.owner.subject, key.owner.issuer)),
        ("scopes", scopes.join(" ")),
        ("created", key.created_at.to_rfc3339()),
    ];
    lines.extend(key.expires_at.map(|time| ("expires", time.to_rfc3339())));
    if let Some(Revocation { at, by, reason }) = &key.revocation {
        let reason = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push(("revoked", format!("{} by {by}{reason}", at.to_rfc3339())));
    }
    lines.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}
